# Install the course from this folder, without a network (Windows):
#     powershell -ExecutionPolicy Bypass -File install.ps1 [FOLDER]
$installer = Join-Path $PSScriptRoot 'install.py'
$launcher = Get-Command py -ErrorAction SilentlyContinue
$python = Get-Command python -ErrorAction SilentlyContinue

if ($launcher) {
    foreach ($version in '3.13', '3.12', '3.11', '3.10', '3.14') {
        & py "-$version" $installer --suits *> $null
        if ($LASTEXITCODE -eq 0) {
            & py "-$version" $installer @args
            exit $LASTEXITCODE
        }
    }
}
# Where none suits, let one say why. Without a Python, the command python opens the store and its
# exit code is 9009.
if ($python) {
    & python $installer @args
    if ($LASTEXITCODE -ne 9009) { exit $LASTEXITCODE }
}
if ($launcher) {
    & py $installer @args
    if ($LASTEXITCODE -eq 1) { exit 1 }
}
[Console]::Error.WriteLine('install: there is no Python 3 here. Install one that README.txt names, then try again.')
exit 1

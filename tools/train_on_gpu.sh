#!/usr/bin/env bash
# Train the shipped models on a GPU machine that has no network.
#
#     tools/train_on_gpu.sh OUTPUT                                   # 7 minutes and 1.5 minutes
#     MINUTES=8 tools/train_on_gpu.sh OUTPUT --compile               # options of course_lib.mini.train
#     MINUTES= DEVICE=cpu PIXEL_MINUTES=0.1 PIXEL_OPTIONS="--images 64 --batch-size 4" \
#         tools/train_on_gpu.sh OUTPUT --smoke                       # a rehearsal: a few steps
#
# The machine has Python 3.12, torch, transformers, accelerate, safetensors and tqdm; what is missing
# there lies in wheels/ (see CONTRIBUTING.md, "Training the shipped models on a borrowed GPU").
# OUTPUT gets a few files models.tar.NN of at most 15 MiB, which together are one archive.
set -uo pipefail
cd "$(dirname "$0")/.."

output=$(realpath -m "${1:?usage: tools/train_on_gpu.sh OUTPUT [options of course_lib.mini.train]}")
shift
work=${WORK:-$(mktemp -d)}
device=${DEVICE:-cuda}
minutes=${MINUTES-7}
pixel_minutes=${PIXEL_MINUTES:-1.5}
mkdir -p "$output" "$work/results/pixel_unet"
failed=0

phase() { # run one phase and say how long it took; a failure does not end the script
    local name=$1 start=$SECONDS status=0
    shift
    "$@" || status=$?
    echo "phase $name: $((SECONDS - start)) s, exit code $status"
    [ "$status" -eq 0 ] || failed=1
}

install_wheels() {
    [ -d wheels ] || { echo "wheels/ is missing: see CONTRIBUTING.md" >&2; return 1; }
    python3 -m pip install --quiet --no-index --no-deps --target "$work/packages" wheels/*.whl
}

train_mini() {
    python3 -m course_lib.mini.train --folder "$work/mini" --device "$device" \
        ${minutes:+--minutes "$minutes"} "$@"
}

train_pixel_unet() {
    python3 tools/train_pixel_unet.py --minutes "$pixel_minutes" --device "$device" \
        --output "$work/results/pixel_unet" --checkpoint "$work/pixel_unet.safetensors" \
        ${PIXEL_OPTIONS:-}
}

collect() { # whatever is there, so that a run that is cut off still brings something back
    rm -rf "$work/results/mini"
    [ -d "$work/mini/model" ] && cp -r "$work/mini/model" "$work/results/mini"
    [ -f "$work/mini/training_report.json" ] && cp "$work/mini/training_report.json" "$work/results"
    rm -f "$output"/models.tar.*
    tar -C "$work/results" -cf - . | split --bytes=15728640 --numeric-suffixes - "$output/models.tar."
}

export PYTHONPATH="$PWD:$work/packages${PYTHONPATH:+:$PYTHONPATH}" HF_HUB_OFFLINE=1
phase install install_wheels
phase mini train_mini "$@"
phase collect collect
phase pixel-unet train_pixel_unet
phase collect collect
exit "$failed"

"""The words of captions: what the writer says and what the parser understands besides.

`SAID` maps each attribute value to the phrases that captions use, the plainest first. `HEARD`
adds what people type but captions do not say. The parser knows both, so that a caption always
reads back. American spelling without hyphens is the common form: `spell_american` brings other
spellings to it.
"""

from __future__ import annotations

import re
import unicodedata

# attribute -> value -> phrases, without article. Every phrase means exactly its value.
SAID: dict[str, dict[str, tuple[str, ...]]] = {
    "style": {
        "flat illustration": ("flat illustration", "vector illustration", "flat vector portrait"),
        "pencil sketch": ("pencil sketch", "pencil drawing", "pencil portrait", "graphite drawing"),
        "ink drawing": ("ink drawing", "pen and ink drawing", "ink portrait"),
        "watercolor": ("watercolor portrait", "watercolor", "watercolor painting"),
        "oil painting": ("oil painting", "oil portrait"),
        "pop art": ("pop art portrait", "pop art print"),
        "pixel art": ("pixel art portrait", "pixel art picture"),
        "pastel": ("pastel portrait", "pastel drawing", "pastel"),
        "mosaic": ("mosaic portrait", "mosaic", "tile mosaic"),
        "woodcut": ("woodcut", "woodcut portrait", "woodcut print"),
    },
    "quality": {
        "rough": ("rough", "crude", "clumsy"),
        "good": ("good", "well made", "decent"),
        "masterful": ("masterful", "masterly", "expert"),
    },
    "framing": {
        "close-up": ("close-up", "tight close-up", "headshot"),
        "bust": ("bust", "head and shoulders"),
        "half-length": ("half-length", "waist-up", "half-length view"),
    },
    "skin": {name: (f"{name} skin",) for name in ("pale", "fair", "olive", "tan", "brown", "dark")},
    "eyewear": {
        "glasses": ("glasses", "spectacles", "eyeglasses"),
        "round glasses": ("round glasses", "round spectacles", "small round glasses"),
        "sunglasses": ("sunglasses", "dark sunglasses", "shades"),
    },
    "facial_hair": {
        "none": ("clean-shaven",),
        "mustache": ("mustache",),
        "goatee": ("goatee",),
        "beard": ("beard", "full beard"),
    },
    "headwear": {
        "cap": ("cap", "baseball cap"),
        "beanie": ("beanie", "knitted beanie", "woolly hat"),
        "sun hat": ("sun hat", "wide-brimmed sun hat", "straw hat"),
        "beret": ("beret",),
        "headscarf": ("headscarf", "head scarf"),
        "crown": ("crown", "golden crown"),
    },
    "expression": {
        "neutral": ("with a neutral expression", "with a calm face", "calm"),
        "smiling": ("smiling", "with a smile", "with a gentle smile"),
        "laughing": ("laughing", "laughing out loud", "with a hearty laugh"),
        "sad": ("looking sad", "with a sad expression", "sad"),
        "surprised": ("looking surprised", "with a surprised look", "astonished"),
        "angry": ("looking angry", "with an angry look", "furious"),
    },
    "clothing": {
        "t-shirt": ("t-shirt", "tee"),
        "shirt": ("shirt", "collared shirt", "button-up shirt"),
        "turtleneck": ("turtleneck", "turtleneck sweater", "roll-neck"),
        "hoodie": ("hoodie", "hooded sweatshirt"),
        "suit": ("suit", "business suit"),
    },
    "background": {
        "landscape": ("in front of a landscape", "with hills behind", "against a landscape"),
        "sunset": ("against a sunset", "at sunset", "in front of a sunset sky"),
        "bookshelf": (
            "in front of a bookshelf",
            "with a bookcase behind",
            "before shelves of books",
        ),
        "starry night": (
            "against a starry night",
            "under a starry sky",
            "in front of a night sky with stars",
        ),
    },
    "pose": {
        "frontal": ("facing the viewer", "facing forward", "looking straight ahead"),
        "turned left": ("turned left", "facing left", "looking to the left"),
        "turned right": ("turned right", "facing right", "looking to the right"),
    },
    "light": {
        "left": ("lit from the left", "with light from the left", "light coming from the left"),
        "right": ("lit from the right", "with light from the right", "light coming from the right"),
        "front": ("lit from the front", "with frontal light", "evenly lit from the front"),
    },
}

HEARD: dict[str, dict[str, tuple[str, ...]]] = {
    "age": {
        "child": ("child", "kid", "toddler", "children", "childhood"),
        "young": ("young", "youthful", "young adult", "teenager", "teenage", "teen"),
        "adult": ("adult", "middle aged", "grown up", "grown", "mature"),
        "elderly": ("elderly", "aged", "senior", "pensioner"),
    },
    "gender": {
        "woman": ("woman", "women", "lady", "female", "she", "her", "feminine", "gal"),
        "man": ("man", "men", "gentleman", "male", "he", "his", "guy", "masculine", "fellow"),
    },
    "style": {
        "flat illustration": ("flat vector", "flat design", "flat style", "vector art", "vector"),
        "pencil sketch": ("pencil", "graphite", "sketch", "charcoal"),
        "ink drawing": ("ink", "pen and ink", "pen drawing", "inked", "line art", "ink sketch"),
        "watercolor": ("watercolors", "aquarelle"),
        "oil painting": ("oil", "oils", "oil paint", "oil on canvas"),
        "pop art": ("pop art", "popart"),
        "pixel art": ("pixel art", "pixelart", "pixelated", "8 bit", "16 bit", "pixels"),
        "pastel": ("pastels", "soft pastel", "oil pastel", "chalk pastel"),
        "mosaic": ("mosaic tiles", "mosaics", "tiles"),
        "woodcut": ("woodblock", "woodblock print", "wood engraving", "linocut"),
    },
    "quality": {
        "rough": ("amateur", "amateurish", "low quality", "poor quality", "bad quality", "hasty"),
        "good": ("good quality", "competent", "skillful"),
        "masterful": (
            "masterpiece",
            "masterwork",
            "high quality",
            "best quality",
            "museum quality",
            "virtuoso",
            "exquisite",
        ),
    },
    "framing": {
        "close-up": ("closeup", "close up portrait", "head shot", "extreme close up"),
        "bust": ("bust portrait", "bust length", "shoulders up", "head and shoulder"),
        "half-length": ("half body", "upper body", "waist up", "from the waist up"),
    },
    "eyewear": {
        "none": ("glassesless",),
        "glasses": ("eyeglass", "bespectacled", "spectacled", "reading glasses"),
        "sunglasses": ("sunglass", "dark glasses", "sun glasses"),
    },
    "facial_hair": {
        "none": ("beardless", "cleanshaven", "shaven"),
        "mustache": ("mustached", "mustachioed"),
        "goatee": ("goateed", "chin beard"),
        "beard": ("bearded", "beards"),
    },
    "headwear": {
        "none": ("hatless", "bareheaded", "bare headed"),
        "cap": ("trucker cap",),
        "beanie": ("knit cap", "knit hat", "wool hat", "knitted hat", "bobble hat", "woolen hat"),
        "sun hat": ("sunhat", "wide brimmed hat", "floppy hat"),
        "headscarf": ("headscarves", "hijab", "babushka"),
        "crown": ("tiara", "diadem", "crowned"),
    },
    "expression": {
        "neutral": (
            "neutral",
            "neutral expression",
            "expressionless",
            "serious",
            "impassive",
            "unsmiling",
        ),
        "smiling": ("smile", "smiles", "happy", "cheerful", "grinning", "grin", "smiley"),
        "laughing": ("laugh", "laughs", "laughter", "laughingly"),
        "sad": ("unhappy", "sorrowful", "gloomy", "melancholy", "crying", "sadness"),
        "surprised": ("surprised", "surprise", "amazed", "shocked", "startled", "astonishment"),
        "angry": ("angry", "anger", "scowling", "enraged", "scowl", "angrily"),
    },
    "clothing": {
        "t-shirt": ("tshirt", "tee shirt"),
        "shirt": ("button down", "dress shirt", "blouse"),
        "turtleneck": ("polo neck", "rollneck", "turtle neck"),
        "hoodie": ("hoody", "hooded sweater", "hooded top", "hooded jacket"),
        "suit": ("suit jacket", "blazer", "suit and tie", "business attire"),
    },
    "background": {
        "landscape": ("landscape", "hills", "mountains", "countryside", "meadow"),
        "sunset": ("sunset", "sundown", "sunset sky", "setting sun"),
        "bookshelf": ("bookshelf", "bookshelves", "bookcase", "library", "books"),
        "starry night": ("starry night", "starry", "stars", "night sky", "starlit", "starry sky"),
    },
    "pose": {"frontal": ("frontal", "front view", "full face", "en face")},
    "light": {
        "front": ("front light", "front lighting", "front lit", "frontal lighting", "frontal light")
    },
}

# Adjectives, by the noun that they stand with.
HAIR_SHAPES = {
    "short": "short", "cropped": "short", "spiky": "spiky", "spiked": "spiky", "long": "long",
    "curly": "curly", "frizzy": "curly", "braided": "braids", "plaited": "braids",
    "buzzed": "buzz cut",
}  # fmt: skip
HAIR_COLORS = {
    "black": "black", "brown": "brown", "blond": "blond", "red": "red", "gray": "gray",
    "white": "white", "blue": "blue", "pink": "pink", "raven": "black", "brunette": "brown",
    "chestnut": "brown", "golden": "blond", "fair": "blond", "ginger": "red", "auburn": "red",
    "copper": "red", "silver": "gray",
}  # fmt: skip
SKINS = {
    "pale": "pale", "porcelain": "pale", "fair": "fair", "light": "fair", "olive": "olive",
    "tan": "tan", "brown": "brown", "dark": "dark", "ebony": "dark",
}  # fmt: skip
CLOTH_COLORS = {
    "white": "white", "black": "black", "gray": "gray", "red": "red", "orange": "orange",
    "yellow": "yellow", "green": "green", "blue": "blue", "purple": "purple", "pink": "pink",
    "crimson": "red", "scarlet": "red", "navy": "blue", "violet": "purple", "lilac": "purple",
    "golden": "yellow",
}  # fmt: skip
WALL_COLORS = {k: v for k, v in CLOTH_COLORS.items() if v != "black"} | {
    "beige": "beige", "cream": "beige", "tan": "beige", "sand": "beige",
}  # fmt: skip
WALL_KINDS = {
    "plain": "plain", "simple": "plain", "solid": "plain", "blank": "plain", "empty": "plain",
    "gradient": "gradient", "graduated": "gradient",
}  # fmt: skip
FAIR_HEADED = {k: HAIR_COLORS[k] for k in ("blond", "brunette", "ginger")}

_NOT_ASCII = re.compile(r"[^\W_]*[^\W_a-zA-Z0-9][^\W_]*|[\u2600-\u27bf\U0001f000-\U0001faff]")
NEGATIONS = frozenset({"no", "not", "without", "never", "lacking", "minus"})
# They carry grammar and nothing that could be painted, so no prompt is misread without them.
FUNCTION_WORDS = frozenset(
    "a about above across after again all almost along also always am an and any anybody anyone "
    "anything are around as at be because been before behind being below beneath beside between "
    "beyond both but by can come comes could did do does doing done down during each either else "
    "enough every everything few for from get gets give gives go goes had has have having he her "
    "here hers herself him himself his how i if in inside instead into is it its itself just kind "
    "let lets like made make makes many may me might mine more most much must my myself near of "
    "off often on once one only onto or other our out over own per put quite rather same shall she "
    "should since so some somebody someone something sort still such take takes than that the "
    "their them then there these they this those though through to together too toward towards two "
    "under until up upon us very via was we were what when where whether which while who whom "
    "whose why will with within would yes yet you your".split()
)

_SPELLING = {
    "grey": "gray", "greying": "gray", "graying": "gray", "silvery": "silver", "blonde": "blond",
    "moustache": "mustache", "moustaches": "mustache", "moustached": "mustached",
    "watercolour": "watercolor", "watercolours": "watercolors", "coloured": "colored",
    "aquarell": "aquarelle", "pyjamas": "pajamas", "skilful": "skillful", "woollen": "woolen",
    "mustaches": "mustache", "tanned": "tan", "grinned": "grin", "hat's": "hat", "lighted": "lit",
}  # fmt: skip
# What a British writer would make of a caption; the parser undoes it.
_BRITISH = {
    "watercolor": "watercolour", "gray": "grey", "mustache": "moustache", "blond": "blonde",
}  # fmt: skip


def spell_british(text: str) -> str:
    """Write a caption with British spelling."""
    for american, british in _BRITISH.items():
        text = re.sub(rf"\b{american}\b", british, text)
    return text


def split_words(text: str) -> list[str]:
    """Lower-case words in American spelling, with ``","`` for every mark that ends a clause.

    Hyphens and underscores part words, so that "close-up" and "close up" are the same.
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    text = re.sub(r"water[\s_-]+colou?r", "watercolor", text)
    pieces = re.findall(r"[a-z0-9]+(?:'[a-z]+)?|[,;.!?:|/()\[\]\n]", text)
    words = [p if p[0].isalnum() else ("is" if p == ":" else ",") for p in pieces]
    return [_SPELLING.get(word, word) for word in words]


def caption_words(text: str) -> list[str]:
    """Lower-case words in American spelling, with ``","`` for every mark that ends a clause."""
    text = unicodedata.normalize("NFKC", text)
    words = []
    for word in split_words(_NOT_ASCII.sub(" ", text)):
        words.append(word if is_negation(word) else word.partition("'")[0])  # "there's": "there"
    return [*words, *([","] if words else []), *_NOT_ASCII.findall(text.lower())]


def is_negation(word: str) -> bool:
    """Whether a word denies what follows it: "no", "without", "isn't"."""
    return word in NEGATIONS or word.endswith("n't")

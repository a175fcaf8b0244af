"""Prompts in people's own words, each beside a plain caption that says the same.

The captions of the training portraits come from templates. What people type does not, so here are
sentences in many voices: polite, curt, chatty, poetic, in lists, in relative clauses, with words
that no template has. The plain caption says what a sentence states; `parse_caption` reads it.
"""

from __future__ import annotations

from course_lib.portraits import parse_caption

# (what somebody writes, the plain caption of the same attributes)
PARAPHRASES: tuple[tuple[str, str], ...] = (
    (
        "Could you do me a watercolor of an old lady whose hair is long and white?",
        "watercolor portrait of an elderly woman with long white hair",
    ),
    (
        "My grandfather, who has a white beard and always wears a beret, done in oils",
        "oil painting of an elderly man with white hair, a beard and a beret",
    ),
    (
        "I'd love to see a guy laughing his head off, hair in red curls, as a comic-like pop art",
        "pop art portrait of a man with curly red hair, laughing",
    ),
    (
        "a kid in a yellow hoodie grinning from ear to ear, made of tiny pixels like an old game",
        "pixel art portrait of a child, smiling, wearing a yellow hoodie",
    ),
    (
        "She has braids, blue ones, and she is furious. Make it a mosaic.",
        "mosaic portrait of a woman with blue hair in braids, looking angry",
    ),
    (
        "woodcut, businessman in suit and tie, stern and bald, seen from the waist up",
        "half-length woodcut of a man with a bald head, wearing a suit",
    ),
    (
        "Just his face, really close, drawn with a pencil; he has a goatee and looks amazed",
        "close-up pencil sketch of a man with a goatee, looking surprised",
    ),
    (
        "someone elderly with a crown on their head, sitting under the stars, oil on canvas",
        "oil painting of an elderly person with a crown, against a starry night",
    ),
    (
        "Her hair is pink and gathered in a bun. Behind her the sun goes down. Pastel, please.",
        "pastel portrait of a woman with pink hair in a bun, against a sunset",
    ),
    (
        "a librarian: middle-aged woman, round spectacles, brown bob, books all around",
        "adult woman with brown hair in a bob and round glasses, in front of a bookshelf",
    ),
    (
        "cool teenager hiding behind sunglasses with a beanie pulled over spiky black hair",
        "young person with spiky black hair, sunglasses and a beanie",
    ),
    (
        "ink drawing where the fellow turns his head to the left and has a big mustache",
        "ink drawing of a man with a mustache, turned left",
    ),
    (
        "The little girl is crying. Her blond hair is in two plaits. Soft pastel colors.",
        "pastel portrait of a girl with blond hair in braids, looking sad",
    ),
    (
        "Vector art avatar for my profile: dark-skinned man, afro, orange tee, smiling",
        "flat illustration of a man with dark skin and an afro, smiling, wearing an orange t-shirt",
    ),
    (
        "a hiker in a straw hat with mountains in the distance, painted in watercolors",
        "watercolor portrait of a person with a sun hat, in front of a landscape",
    ),
    (
        "nothing fancy, an ink sketch of a bespectacled old man who is laughing",
        "ink drawing of an elderly man with glasses, laughing",
    ),
    (
        "He wears a purple turtleneck, his hair is short and gray and he looks rather sad",
        "man with short gray hair, looking sad, wearing a purple turtleneck",
    ),
    (
        "a Roman floor of tiles: some woman, her headscarf on, gazing to the right",
        "mosaic portrait of a woman with a headscarf, turned right",
    ),
    (
        "old-school 8-bit game hero: ginger beard, green shirt, red wall behind him",
        "pixel art portrait of a man with red hair and a beard, wearing a green shirt, "
        "against a red background",
    ),
    (
        "Make the background plain and blue; the woman in front of it has an afro and glasses",
        "woman with an afro and glasses, against a plain blue background",
    ),
    (
        "so surprised! eyes wide, hair blond and long, a young man printed like a comic, pop art",
        "pop art portrait of a young man with long blond hair, looking surprised",
    ),
    (
        "a graphite study of a lady in a wide-brimmed hat, calm, seen from the front",
        "pencil sketch of a woman with a sun hat, calm, facing the viewer",
    ),
    (
        "Paint me an emperor: gold crown, full beard, angry eyes, oil paint",
        "oil painting of a man with a beard and a crown, looking angry",
    ),
    (
        "my nephew, six years old, baseball cap, laughing at something, flat design",
        "flat illustration of a boy with a cap, laughing",
    ),
    (
        "pale complexion, raven hair cut in a bob, black turtleneck, sort of melancholy",
        "person with pale skin and black hair in a bob, looking sad, wearing a black turtleneck",
    ),
    (
        "the most beautiful pastel you can do of a tan woman with curly brown hair at sunset",
        "pastel portrait of a woman with tan skin and curly brown hair, against a sunset",
    ),
    (
        "An astronomer beneath the night sky, wearing round glasses and a gray hoodie.",
        "person with round glasses, wearing a gray hoodie, against a starry night",
    ),
    (
        "young, angry and with a buzz cut, she glares at you from a poster, pop art",
        "pop art portrait of a young woman with a buzz cut, looking angry",
    ),
    (
        "Linocut of a sailor type: beanie on, bearded, head turned to the right",
        "woodcut of a man with a beard and a beanie, turned right",
    ),
    (
        "there's this lady with olive skin and a white blouse, and she's smiling at us",
        "woman with olive skin, smiling, wearing a white shirt",
    ),
    (
        "a masterpiece in oil: gentleman with silver hair, suit jacket, bookshelves at the back",
        "masterful oil painting of a man with gray hair, wearing a suit, in front of a bookshelf",
    ),
    (
        "clumsy pencil scribble of a man in a cap, just an amateur thing",
        "rough pencil sketch of a man with a cap",
    ),
    (
        "Fair skin, pink spiky hair, shades, pop art. That is all.",
        "pop art portrait of a person with fair skin, spiky pink hair and sunglasses",
    ),
    (
        "imagine a girl whose red curls stick out from under her beret; watercolor",
        "watercolor portrait of a girl with curly red hair and a beret",
    ),
    (
        "For a book cover: woman, brown skin, long black hair, looking to the left, hills behind",
        "woman with brown skin and long black hair, turned left, in front of a landscape",
    ),
    (
        "a gloomy old fellow with a bushy mustache; make it look carved in wood",
        "woodcut of an elderly man with a mustache, looking sad",
    ),
    (
        "Tiny colored stones form his smiling face; the man's brown hair is short. A mosaic, then",
        "mosaic portrait of a man with short brown hair, smiling",
    ),
    (
        "Show head and shoulders of her: blue hair up in a topknot, and she wears a purple top",
        "bust portrait of a woman with blue hair in a bun, wearing purple",
    ),
    (
        "person in their forties, no hat, reading glasses, red sweater, laughter",
        "adult person with glasses, laughing, wearing red",
    ),
    (
        "It should be drawn in pen and ink and show a lady in a turtleneck who is startled",
        "ink drawing of a woman, looking surprised, wearing a turtleneck",
    ),
    (
        "light falls from the left on this bald gentleman and his white goatee, oil portrait",
        "oil painting of a man with a bald head and a white goatee, lit from the left",
    ),
    (
        "teen with braided black hair, dark skin, orange hoodie, big smile, vector style",
        "flat illustration of a young person with dark skin and black hair in braids, smiling, "
        "wearing an orange hoodie",
    ),
    (
        "Grandma in her headscarf in front of the bookcase, as a watercolour",
        "watercolor portrait of an elderly woman with a headscarf, in front of a bookshelf",
    ),
    (
        "green gradient behind, dude in front: long brown hair, beard, sunglasses",
        "man with long brown hair, a beard and sunglasses, against a green gradient",
    ),
    (
        "What would a happy child with an afro look like in pixel art?",
        "pixel art portrait of a child with an afro, smiling",
    ),
    (
        "A woman stands before a yellow backdrop, her white hair cropped short, pop art print",
        "pop art portrait of a woman with short white hair, against a yellow background",
    ),
    (
        "mustachioed gentleman, bowler-less, hair short and black, flat vector picture, pink wall",
        "flat illustration of a man with short black hair and a mustache, "
        "against a pink background",
    ),
    (
        "I am thinking of a queen. Crown, of course. Long red hair. Serious face. Oil painting.",
        "oil painting of a woman with long red hair and a crown, calm",
    ),
    (
        "sketched quickly with graphite: laughing woman, hair tied up in a bun",
        "pencil sketch of a woman with hair in a bun, laughing",
    ),
    (
        "young redhead in a blue t-shirt, round glasses on the nose, pastel drawing",
        "pastel portrait of a young person with red hair and round glasses, wearing a blue t-shirt",
    ),
    (
        "The stars are out and a boy with a woolly hat looks up, astonished, pixelated picture",
        "pixel art portrait of a boy with a beanie, looking surprised, against a starry night",
    ),
    (
        "tan guy, buzz cut, white tee, scowling, that's my flatmate",
        "man with tan skin and a buzz cut, looking angry, wearing a white t-shirt",
    ),
    (
        "Give her sunglasses and a floppy hat and let the sky glow with sunset, in watercolor",
        "watercolor portrait of a woman with sunglasses and a sun hat, against a sunset",
    ),
    (
        "half body view of somebody in a navy suit with gray hair, library background",
        "half-length portrait of a person with gray hair, wearing a blue suit, "
        "in front of a bookshelf",
    ),
    (
        "a mosaic showing an old man: beard of white, eyes sad, meadow and hills behind him",
        "mosaic portrait of an elderly man with white hair and a beard, looking sad, "
        "in front of a landscape",
    ),
    (
        "in woodblock print manner, a lady with long hair who is quite cheerful",
        "woodcut of a woman with long hair, smiling",
    ),
    (
        "profile pic pls: blonde bob, glasses, pink shirt, friendly smile, flat illustration",
        "flat illustration of a person with blond hair in a bob and glasses, smiling, "
        "wearing a pink shirt",
    ),
    (
        "Under a beret the curls of a laughing woman tumble out; lines of ink only",
        "ink drawing of a woman with curly hair and a beret, laughing",
    ),
    (
        "red-haired toddler on a plain white background, softly drawn with chalk pastels",
        "pastel portrait of a child with red hair, against a plain white background",
    ),
    (
        "tight headshot, man of middle age, ebony skin, gray beard, neutral, oil on canvas",
        "close-up oil painting of an adult man with dark skin, gray hair and a beard, calm",
    ),
    (
        "Could the woman please be bald, in a black hoodie, and look angry? Pop art is fine.",
        "pop art portrait of a woman with a bald head, looking angry, wearing a black hoodie",
    ),
    (
        "watercolour of my aunt, olive-skinned, her brown hair in braids, facing right",
        "watercolor portrait of a woman with olive skin and brown hair in braids, turned right",
    ),
    (
        "pirate mood: goatee, long black hair, hat-free, sunset at sea behind him, oils",
        "oil painting of a man with long black hair and a goatee, against a sunset",
    ),
    (
        "pixels, pixels, pixels: an old woman with purple clothes, white curls and spectacles",
        "pixel art portrait of an elderly woman with curly white hair and glasses, wearing purple",
    ),
)


def stated(number: int) -> dict[str, str]:
    """The attributes that sentence `number` states."""
    return parse_caption(PARAPHRASES[number][1])

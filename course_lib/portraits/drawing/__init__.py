"""The vector half of a portrait: the person, the clothes and the backdrop as SVG shapes."""

"""The colour maps of pictures, by name."""

COLORMAPS = {
    # From matplotlib, CC0.
    "viridis": "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c 1fa088 28ae80 3fbc73 "
    "5ec962 84d44b addc30 d8e219 fde725",
    "magma": "000004 0b0924 20114b 3b0f70 57157e 721f81 8c2981 a8327d c43c75 de4968 f1605d fa7f5e "
    "fe9f6d febf84 fddea0 fcfdbf",
    # From ColorBrewer 2.0, Apache License 2.0.
    "blues": "f7fbff deebf7 c6dbef 9ecae1 6baed6 4292c6 2171b5 08519c 08306b",
    "greens": "f7fcf5 e5f5e0 c7e9c0 a1d99b 74c476 41ab5d 238b45 006d2c 00441b",
    "reds": "fff5f0 fee0d2 fcbba1 fc9272 fb6a4a ef3b2c cb181d a50f15 67000d",
    "spectral": "9e0142 d53e4f f46d43 fdae61 fee08b ffffbf e6f598 abdda4 66c2a5 3288bd 5e4fa2",
    "rdylgn": "a50026 d73027 f46d43 fdae61 fee08b ffffbf d9ef8b a6d96a 66bd63 1a9850 006837",
    "rdbu": "67001f b2182b d6604d f4a582 fddbc7 f7f7f7 d1e5f0 92c5de 4393c3 2166ac 053061",
    "terrain": "333399 0294fa 24d36d 89e584 fefe98 c2b07c 9b7e6c c4b7ae ffffff",
    "grey": "000000 ffffff",
}
"""Name -> equidistant colours, from the lowest value to the highest."""

"""The fixed ladder that everybody else uses: the yardstick of reports, of the saving and of benchmarks."""

# Apple's HLS authoring specification, H.264: width, height and average kbit/s of each variant.
APPLE_H264 = (
    (416, 234, 145), (640, 360, 365), (768, 432, 730), (768, 432, 1100), (960, 540, 2000), (1280, 720, 3000),
    (1280, 720, 4500), (1920, 1080, 6000), (1920, 1080, 7800),
)  # fmt: skip

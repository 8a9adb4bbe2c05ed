"""What comes in: catalogue feeds, masters (video files) and viewer events, on their way to the landing zone."""

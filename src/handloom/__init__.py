"""Hands out of RGB pictures: masks and 21 keypoints, in a pipeline you can train yourself."""

import os

# ONNX Runtime sends its maker an identifier and what it runs on, unless it is told otherwise before it is imported
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

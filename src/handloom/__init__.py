"""Hands out of RGB pictures: masks and 21 keypoints, in a pipeline you can train yourself."""

#!/usr/bin/env python3
"""Models as text: the official suite and the real networks through tests/graph_text.

usage: LCC=build/lcc tests/run_graph_text.py [quick|normal|full]
Last line: N passed, N failed, N skipped."""
import glob
import os
import subprocess
import sys

import onnx

BUILD = os.path.dirname(os.path.abspath(os.environ.get("LCC", "build/lcc")))
DATA = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
MODELS = os.environ.get("LEPTON_MODELS", "../shared/models")

files = sorted(glob.glob(f"{DATA}/*/*/model.onnx")) + sorted(glob.glob(f"{MODELS}/*/model.onnx"))
if sys.argv[1:] == ["quick"]:
    files = files[::10]
sys.exit(subprocess.run([f"{BUILD}/tests/graph_text", *files]).returncode)

"""Checks ONNX files with the reference implementation.

usage: check_onnx.py FILE...

Fails at the first file that breaks a rule of the format, or that has another length than
what the reference implementation writes for the same content.
"""

import os
import sys

import onnx

for path in sys.argv[1:]:
    onnx.checker.check_model(path, full_check=True)
    expected = onnx.load(path).ByteSize()
    if os.path.getsize(path) != expected:
        sys.exit(f"{path} has {os.path.getsize(path)} bytes, the reference writes {expected}")
    print(path)

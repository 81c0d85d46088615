"""Tests an export: loads it in a fresh process as TF Serving does and compares its answers with those in it.

Exit code 0 says that the TensorFlow of this Python answers, on the CPU, as the model did where it was
exported; 1 that a check did not hold, and which. TF Serving has a TensorFlow of its own, which is not asked.
Needs no model folder, but kbert with its packages; where TensorFlow and tensorflow-text are all there is,
kbert/export/self_test.py alone does the same: python self_test.py FOLDER.

Example:
  python tf_scripts/verify_export.py --version=saved_models/mine/1
"""

import json
import sys

from absl import flags

from kbert import entry

FLAGS = flags.FLAGS
flags.DEFINE_string("version", None, "Version folder made by export_model.py.", required=True)


def main():
    from kbert.export import SelfTestError, verify

    try:
        print(json.dumps(verify(FLAGS.version)))
    except SelfTestError as error:
        sys.stderr.write(f"error: {FLAGS.version}: {' '.join(str(error).split())}\n")
        sys.exit(1)


if __name__ == "__main__":
    entry.run(main)

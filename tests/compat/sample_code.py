"""What the executions of these tests run."""

from fixtures.work import IMAGE

YAML = f"""
- step:
    name: train
    image: {IMAGE}
    command:
      - echo preparing
      - python train.py {{parameters}}
    parameters:
      - {{name: epochs, type: integer, default: 2}}
      - {{name: rate, type: float, default: 0.5}}
      - {{name: label, type: string, default: plain}}
      - {{name: shout, type: flag}}
    inputs:
      - {{name: data}}
      - {{name: extra, optional: true}}
    environment-variables:
      - {{name: FROM_STEP, default: step-value}}
- step:
    name: lines
    image: {IMAGE}
    command: python -u lines.py {{parameters}}
    parameters:
      - {{name: count, type: integer, default: 10}}
      - {{name: pause, type: float, default: 0.0}}
- step:
    name: utils
    image: {IMAGE}
    command: PYTHONPATH=vendor python use_utils.py {{parameters}}
    parameters:
      - {{name: epochs, type: integer, default: 3}}
    inputs:
      - {{name: data}}
      - {{name: lazy, download: on-demand}}
"""
TRAIN = """
import argparse, json, os, pathlib, sys
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int)
parser.add_argument("--rate", type=float)
parser.add_argument("--label")
parser.add_argument("--shout", action="store_true")
args = parser.parse_args()
for name in ("data", "extra"):
    folder = pathlib.Path("/valohai/inputs", name)
    for file in sorted(folder.rglob("*")) if folder.is_dir() else ():
        print("input", name, file.name, len(file.read_bytes()))
print("label", args.label, "shout", args.shout)
print("variables", os.environ.get("FROM_STEP"), os.environ.get("GIVEN"))
print("to stderr", file=sys.stderr)
for epoch in range(args.epochs):
    print(json.dumps({"epoch": epoch, "loss": args.rate / (epoch + 1)}))
outputs = pathlib.Path("/valohai/outputs")
(outputs / "reports").mkdir()
(outputs / "model.txt").write_text(f"model of {args.label}\\n")
(outputs / "reports" / "table.csv").write_text("a,b\\n1,2\\n")
metadata = {"valohai.alias": f"best-{args.label}", "made-by": "train"}
(outputs / "model.txt.metadata.json").write_text(json.dumps(metadata))
"""
LINES = """
import argparse, time
parser = argparse.ArgumentParser()
parser.add_argument("--count", type=int)
parser.add_argument("--pause", type=float)
args = parser.parse_args()
for number in range(args.count):
    print(f"line {number:06d}")
    if args.pause:
        time.sleep(args.pause)
"""

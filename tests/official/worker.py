"""One case in one mode: change the model, compile, run, compare; isolated from the runner."""
import os
import re
import time
import traceback

import onnx

import lepton
from lepton.backend import is_tensor, shape_text

from .cases import data_sets, describe, graph_inputs, verdict
from .isolate import isolated
from .modes import mode_apply

UNSUPPORTED = 4               # lcc's exit code
LIMIT, LIGHT_LIMIT = 20, 180  # seconds
REASON_CHARS = 150


def one_line(text):
    text = re.sub(r"[^\x20-\x7e]+", " ", text).strip()
    return text if len(text) <= REASON_CHARS else text[:REASON_CHARS - 3] + "..."


def error_line(text):
    """lcc's first error, without the file's name."""
    for line in text.split("\n"):
        _, error, rest = line.partition("error: ")
        if error:
            return one_line(rest)
    return one_line(text.strip().split("\n")[-1]) or "no message"


def compile_failure(e):
    """(status, reason, detail) of a CompileError."""
    if e.code == UNSUPPORTED:
        return "unsupported", error_line(e.text), e.text
    return "fail", f"lcc exit {e.code}: {error_line(e.text)}", e.text


def case_try(folder, case, mode, target, options):
    """(status, reason, detail) of a case; lets exceptions pass."""
    model = onnx.load(case.model)
    for inputs, expected in data_sets(case, model):
        given = mode_apply(mode, model, inputs, folder)
        path = os.path.join(folder, "model.onnx")
        onnx.save(model, path)
        shapes = [f"--shape={i.name}={shape_text(v)}" for i, v in zip(graph_inputs(model), given)
                  if not is_tensor(i)]
        compiled = lepton.compile(path, target=target, options=[*options, *shapes])
        outputs = compiled.run(given)
        wrong = verdict(case, expected, outputs)
        if wrong:
            return "fail", one_line(wrong[0]), (f"{wrong[1]}\nexpected {describe(expected)}\n"
                                                f"got      {describe(outputs)}")
    return "pass", "", ""


def case_run(*job):
    try:
        return case_try(*job)
    except lepton.CompileError as e:
        return compile_failure(e)
    except lepton.RunError as e:
        return "fail", f"run: {e}", ""
    except Exception as e:  # whatever a case does, it is that case's failure
        return "fail", one_line(f"{type(e).__name__}: {e}"), traceback.format_exc()


def job_run(job):
    """job = (case, mode, target, options) -> (name, mode, status, reason, detail, seconds)."""
    case, mode = job[:2]
    started = time.monotonic()
    result, trouble = isolated(case_run, job, LIGHT_LIMIT if case.light else LIMIT)
    if trouble:
        result = "fail", trouble, ""
    return (case.name, mode, *result, time.monotonic() - started)

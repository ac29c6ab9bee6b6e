"""A model of Triton's Python backend: describes ranges of the job that its configuration names.

The whole model is one step for Triton. Its encoder and decoder as models of their own, tied
together by Triton, would hand the KV cache across their border at every token.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from c2t.runtime.output.parts.plan import ranges_left
from c2t.runtime.output.text_files import json_line
from c2t.runtime.scale_out.job import Job
from c2t.runtime.scale_out.work import Work
from c2t.runtime.system.errors import C2TError

PORTION = 256  # cells of a response


class TritonPythonModel:
    """What Triton looks for in this file."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the job; an error here keeps the model from being loaded."""
        parameters = json.loads(args["model_config"])["parameters"]
        job = Path(parameters["job"]["string_value"])
        try:
            self.work = Work(Job.decoded(job.read_bytes()))
        except (C2TError, OSError) as error:
            raise pb_utils.TritonModelException(str(error)) from error

    def execute(self, requests: list[Any]) -> None:
        """Describe the range of each request, portion by portion."""
        for request in requests:
            sender = request.get_response_sender()
            try:
                for portion in self.portions(request):
                    tensor = pb_utils.Tensor("RECORDS", np.array(portion, dtype=np.object_))
                    sender.send(pb_utils.InferenceResponse(output_tensors=[tensor]))
            except C2TError as error:
                failure = pb_utils.TritonError(str(error))
                sender.send(pb_utils.InferenceResponse(output_tensors=[], error=failure))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def portions(self, request: Any) -> Any:
        """Lines of JSON of the cells that a request names, some at a time."""
        start, stop = (
            int(pb_utils.get_input_tensor_by_name(request, name).as_numpy()[0])
            for name in ("START", "STOP")
        )
        if not 0 <= start < stop <= self.work.cells:
            self.work.records(start, stop)  # says what is wrong
        for first, end in ranges_left(start, stop, PORTION):
            yield [json_line(record) for record in self.work.records(first, end)]

    def finalize(self) -> None:
        """Give the engines back."""
        self.work.close()

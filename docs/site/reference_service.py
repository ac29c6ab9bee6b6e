"""The pages about the service: routes from its OpenAPI document, metrics from their registry."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import Mock

from c2t.runtime.serve.http.metrics import Metrics
from c2t.runtime.serve.http.openapi import make_openapi
from c2t.runtime.serve.http.operations import (
    about_operations,
    analysis_operations,
    describe_operations,
    job_operations,
)

_METRICS = (
    "`GET /metrics`, in Prometheus' text format. Of a histogram there are `_bucket`, `_sum` and "
    "`_count`."
)
_ROUTES = (
    "[The service](../../how-to/service.md) says what they are for. "
    "{download}`openapi.json` is what `GET /openapi.json` answers."
)


def openapi() -> dict[str, Any]:
    """The service's description of itself; nothing is answered here, so no routes are needed."""
    operations = describe_operations(Mock()) + analysis_operations(Mock(), jobs=True)
    operations += job_operations(Mock()) + about_operations(Mock())
    return json.loads(make_openapi(operations, token=True))


def metric_families() -> list[tuple[str, str, str, tuple[str, ...]]]:
    """Name, kind, meaning and labels of each metric."""
    found = []
    for collector in Metrics().registry._collector_to_names:
        family = next(iter(collector.describe()))
        name = family.name + ("_total" if family.type == "counter" else "")
        found.append((name, family.type, family.documentation, tuple(collector._labelnames)))
    return found


def service_pages() -> dict[str, str]:
    """The pages of routes and metrics, and the document itself; by name."""
    document = openapi()
    lines = ["# Routes of HTTP", "", _ROUTES, ""]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            errors = [status for status in operation["responses"] if not status.startswith("2")]
            said = f"{operation['summary'].rstrip('.')}. {operation.get('description', '')}".strip()
            said = " ".join(said.split()) + f" Errors: {', '.join(errors)}."
            names = [f"`{p['name']}`" for p in operation.get("parameters", ()) if p["in"] != "path"]
            if names:
                said += f" Takes {', '.join(names)}."
            lines.append(f"`{method.upper()} {path}`\n: {said}\n")
    metrics = ["# Metrics", "", _METRICS, ""]
    for name, kind, about, labels in metric_families():
        of = f", by {', '.join(f'`{label}`' for label in labels)}" if labels else ""
        metrics.append(f"`{name}` ({kind}{of})\n: {about}\n")
    return {
        "reference/service/http.md": "\n".join(lines),
        "reference/service/metrics.md": "\n".join(metrics),
        "reference/service/openapi.json": json.dumps(document, indent=1) + "\n",
    }

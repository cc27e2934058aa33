"""Posts one JSON object to `DEPLOYQ_WEBHOOK_URL` when a push starts, fails at a step, or ends."""

from __future__ import annotations

import json
import os
import urllib.request

from deployq import Plan, Report, StepResult, hookimpl

deployq_api = "1.0"
SECONDS = 10.0


@hookimpl
def deployq_push_started(plan: Plan) -> None:
    """The push is about to begin."""
    _post({"event": "started", "model": plan.model, "quants": list(plan.quants)})


@hookimpl
def deployq_step_finished(plan: Plan, result: StepResult) -> None:
    """Good steps are many; only one that failed is news."""
    if result.status == "failed":
        event = {"event": "step failed", "model": plan.model, "detail": result.detail}
        _post({**event, "step": result.step})


@hookimpl
def deployq_push_finished(report: Report) -> None:
    """How the push ended, target by target."""
    targets = {target.target: target.status for target in report.targets}
    event = {"event": "finished", "model": report.model, "exit_code": report.exit_code}
    _post({**event, "seconds": round(report.seconds, 1), "targets": targets})


def _post(event: dict[str, object]) -> None:
    """What is raised here is named by deployq; the push goes on."""
    url = os.environ.get("DEPLOYQ_WEBHOOK_URL")
    if not url:
        return
    body, kind = json.dumps(event).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, kind, method="POST")
    urllib.request.urlopen(request, timeout=SECONDS).close()

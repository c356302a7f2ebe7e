"""Dagster's default launcher, and the answer to whether the process of a run is still there.

Without it, a run whose process and code server were killed together stays "started" for ever,
and so does its slot in a pool.
"""

from __future__ import annotations

import json

from dagster import DagsterRun, DefaultRunLauncher
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher.base import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value

# A busy code server is late; one that is gone refuses at once.
ANSWER_SECONDS = 30


class WatchedRunLauncher(DefaultRunLauncher):
    """Launches runs as processes of the code server, and lets run monitoring ask after them."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Run monitoring may ask."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Ask the code server that started a run whether its process is there.

        A run that no code server started, as one in the process of a command, counts as running:
        that command settles it when it starts again.
        """
        if GRPC_INFO_TAG not in run.tags:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        client = DagsterGrpcClient(**json.loads(run.tags[GRPC_INFO_TAG]))
        request = CanCancelExecutionRequest(run_id=run.run_id)
        try:
            answer = client.can_cancel_execution(request, timeout=ANSWER_SECONDS)
        except DagsterUserCodeUnreachableError:
            gone = "the code server that started the run does not answer"
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, gone)
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the process of the run has ended")

"""The fixture, with pytest-benchmark and without.

With it the fixture asks for `benchmark` by name, so that `--benchmark-only` and its like know these tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from benchmark.pytest_plugin.runner import SambenchRunner


class WithBenchmark:
    """Where pytest-benchmark is there."""

    @pytest.fixture
    def sambench_runner(self, request: pytest.FixtureRequest, benchmark: Any) -> SambenchRunner:
        """Measures a model: `sambench_runner("onnxruntime", onnx="encoder.onnx", inputs={"image": image})`."""
        return _runner(request, benchmark)


class WithoutBenchmark:
    """Where it is not."""

    @pytest.fixture
    def sambench_runner(self, request: pytest.FixtureRequest) -> SambenchRunner:
        """Measures a model: `sambench_runner("onnxruntime", onnx="encoder.onnx", inputs={"image": image})`."""
        return _runner(request, None)


def _runner(request: pytest.FixtureRequest, benchmark: Any) -> SambenchRunner:
    from benchmark.pytest_plugin.plugin import session_of
    from benchmark.pytest_plugin.runner import SambenchRunner

    return SambenchRunner(request.node, session_of(request.config), benchmark)

"""Small Ray and Spark clusters on this machine."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import deadly_store
import pytest


@contextmanager
def ray_cluster() -> Iterator[None]:
    """Start a cluster that believes in four cores, so that several actors fit."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=4, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        ray.cloudpickle.register_pickle_by_value(deadly_store)  # workers do not have this file
        yield
        ray.shutdown()


@contextmanager
def spark_session() -> Iterator[Any]:
    """Start two Python workers at a time, and tasks that may fail as often as on a cluster."""
    import pyspark
    from pyspark.sql import SparkSession

    pyspark.cloudpickle.register_pickle_by_value(deadly_store)  # workers do not have this file
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "512m",
        "spark.sql.execution.arrow.maxRecordsPerBatch": "5",
    }
    builder = SparkSession.builder.master("local[2,4]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("OFF")
        yield session
        session.stop()

"""Where a run's figures are reported: names checked, and known to be installed, before any work."""

from __future__ import annotations

from typing import Any

from unmask.core.errors import UsageError, did_you_mean

#: which loggers read which settings
READERS = {
    "run_name": ("wandb", "trackio", "comet_ml", "mlflow", "dagshub", "swanlab"),
    "project": ("trackio",),
    "trackio_space_id": ("trackio",),
    "trackio_bucket_id": ("trackio",),
    "trackio_static_space_id": ("trackio",),
    "hub_private_repo": ("trackio",),
}


def loggers(report_to: Any) -> list[str]:
    """The loggers that a setting names.

    Args:
        report_to: a name, names with commas between them, a list of names; ``all`` are those that are installed; None,
            False and ``none`` are no logger.

    Raises:
        UsageError: a name that is no logger's, or a logger that is not installed.
    """
    from transformers.integrations import get_available_reporting_integrations
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

    given = [report_to] if isinstance(report_to, str) or not isinstance(report_to, (list, tuple)) else report_to
    names = [part.strip() for item in given for part in str(item).split(",") if part.strip()]
    if [n.lower() for n in names] in ([], ["none"], ["no"], ["false"]):
        return []
    installed = list(get_available_reporting_integrations())
    if names == ["all"]:
        return installed
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise UsageError(
                f"report_to={name!r} is no logger: {did_you_mean(name, [*INTEGRATION_TO_CALLBACK, 'none'])}"
            )
        if name not in installed:
            try:
                INTEGRATION_TO_CALLBACK[name]()
            except Exception as error:  # each has an error of its own for a missing package
                why = " ".join(str(error).split())
                raise UsageError(f"report_to={name!r} is not installed: {why}") from error
    return list(dict.fromkeys(names))

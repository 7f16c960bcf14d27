"""What the WebUI would have printed to its console, the last of which it remembers."""

reports: list[Exception] = []
exception_records: list[dict] = []


def report(problem: Exception | str, *, exc_info: bool = False) -> None:
    reports.append(problem)
    exception_records.append({"exception": str(problem), "traceback": []})


def get_exceptions() -> list[dict]:
    """The newest first."""
    return list(reversed(exception_records))

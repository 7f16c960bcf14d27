"""What the WebUI would have printed to its console and then forgotten."""

reports: list[Exception] = []


def report(problem: Exception) -> None:
    reports.append(problem)

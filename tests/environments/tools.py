"""Tools that tests call."""


def calculate(expression: str) -> float:
    """Work an arithmetic expression out.

    Args:
        expression: Numbers with + - * / and brackets.
    """
    if set(expression) - set("0123456789.+-*/() "):
        raise ValueError(f"not arithmetic: {expression!r}")
    return float(eval(expression, {"__builtins__": {}}))


def sleep(seconds: float) -> str:
    """Wait.

    Args:
        seconds: How long.
    """
    import time

    time.sleep(seconds)
    return "awake"


def untyped(x):
    return x

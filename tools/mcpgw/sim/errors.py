"""What goes wrong with a simulated board."""


class SimError(Exception):
    """Cannot start or command a simulated board; the text says what to do."""

"""How the bridge brings a board back from its MicroPython prompt."""

from mcpgw.bridge.rescue import AT_PROMPT, CANCEL, POKE, SILENT, SOFT_RESET, Rescue


def test_rescue_leaves_a_serving_board_alone():
    rescue = Rescue(0)
    for t in range(0, 100, 3):
        rescue.asked(t)
        rescue.heard(b"\x1eh 2 00000000 {}\n", t + 0.01)
        rescue.answered()
        for i in range(12):
            assert rescue.step(t + i / 4) is None
            rescue.heard(b'{"text":">>> "}\n', t + i / 4)


def test_rescue_of_a_board_at_its_prompt():
    rescue = Rescue(0)
    rescue.asked(0)
    rescue.heard(b'h 7c 0123abcd {"v":1,"by":"mcpgw 0.1.0"}', 0.1)
    assert rescue.step(1.4) is None
    assert rescue.step(1.6) == POKE
    rescue.heard(b"\r\nSyntaxError: invalid syntax\r\n>>> \r\nMicroPython v1.25\r\n>>> ", 1.7)
    assert rescue.step(1.75) is None
    assert rescue.step(2.3) == SOFT_RESET
    assert rescue.heard(b"\r\nMPY: soft reboot\r\n", 2.4)
    assert not rescue.heard(b"x", 2.5)
    assert rescue.step(3) is None
    rescue.answered()
    assert rescue.step(30) is None


def test_rescue_of_a_board_that_waits_for_the_rest_of_a_statement():
    rescue = Rescue(0)
    rescue.asked(0)
    rescue.heard(b"waiting... ", 2.9)  # of a program; no prompt has been provoked yet
    assert rescue.step(3.1) is None
    assert rescue.step(6) == POKE
    rescue.heard(b"\r\n... ", 6.1)
    assert rescue.step(6.5) == CANCEL
    rescue.heard(b"\r\n>>> ", 6.6)
    assert rescue.step(7) == SOFT_RESET


def test_rescue_gives_up_when_no_main_starts():
    rescue, sent, now = Rescue(0), [], 0
    rescue.asked(0)
    while not rescue.gave_up and now < 120:
        now += 0.25
        data = rescue.step(now)
        if data:
            sent.append(data)
            reply = b"MPY: soft reboot\r\n>>> " if data == SOFT_RESET else b"\r\n>>> "
            rescue.heard(reply, now + 0.01)
    assert rescue.gave_up == AT_PROMPT
    assert sent.count(SOFT_RESET) == 2
    assert now < 30


def test_rescue_gives_up_on_silence():
    rescue, sent, now = Rescue(0), [], 0
    rescue.asked(0)
    while not rescue.gave_up and now < 120:
        now += 0.25
        sent.append(rescue.step(now))
    assert rescue.gave_up == SILENT
    assert set(sent) == {None, POKE}
    assert now < 60

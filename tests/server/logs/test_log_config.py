"""log4j2.xml: what of it decides where the logs go, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelplex.server.config import MIB, ConfigError
from modelplex.server.logs.log_config import Log, LogConfig, LogFile, default, read

ROLLING = """
<RollingFile name="{name}" fileName="${{env:LOG_LOCATION:-logs}}/{name}.log"
             filePattern="logs/{name}.%d{{dd-MMM}}.log.gz">
  <PatternLayout pattern="%d{{ISO8601}} - %m%n"/>
  <Policies><SizeBasedTriggeringPolicy size="10 MB"/><TimeBasedTriggeringPolicy/></Policies>
  <DefaultRolloverStrategy max="3"/>
</RollingFile>"""
CONSOLE = '<Console name="STDOUT"><PatternLayout pattern="%d{ISO8601} - %m%n"/></Console>'


def parsed(
    tmp_path: Path, appenders: str, loggers: str, environ: dict[str, str] | None = None
) -> LogConfig:
    """What is read out of a file with these appenders and loggers."""
    path = tmp_path / "log4j2.xml"
    path.write_text(
        f"<Configuration><Appenders>{appenders}</Appenders>"
        f"<Loggers>{loggers}</Loggers></Configuration>"
    )
    return read(path, environ or {})


def test_the_toolkits_kind_of_file(tmp_path: Path) -> None:
    """Each log to its file, and with the root's appenders to the console and the server's log."""
    config = parsed(
        tmp_path,
        CONSOLE + ROLLING.format(name="access_log") + ROLLING.format(name="mms_log"),
        '<Logger name="ACCESS_LOG" level="info"><AppenderRef ref="access_log"/></Logger>'
        '<Logger name="MODEL_LOG" level="WARN"/>'
        '<Logger name="com.amazonaws.ml.mms" level="info"><AppenderRef ref="mms_log"/></Logger>'
        '<Logger name="io.netty" level="error"/><Logger name="org.apache" level="off"/>'
        '<Root level="warn"><AppenderRef ref="STDOUT"/><AppenderRef ref="mms_log"/></Root>',
        {"LOG_LOCATION": "/var/log"},
    )
    access = LogFile(Path("/var/log/access_log.log"), 10 * MIB, 3)
    server = LogFile(Path("/var/log/mms_log.log"), 10 * MIB, 3)
    assert config.logs == {
        "access_log": Log("info", (access, server), True),
        "model_log": Log("warn", (server,), True),
        "mms_log": Log("info", (server,), True),
        "model_metrics": Log("warn", (server,), True),
        "mms_metrics": Log("warn", (server,), True),
    }
    assert config.warnings == ()


def test_a_logger_may_keep_to_itself(tmp_path: Path) -> None:
    """additivity="false": the root's appenders do not get its lines; unset variables have ends."""
    config = parsed(
        tmp_path,
        CONSOLE + ROLLING.format(name="access_log"),
        '<Logger name="ACCESS_LOG" level="info" additivity="false">'
        '<AppenderRef ref="access_log"/></Logger>'
        '<Root level="off"><AppenderRef ref="STDOUT"/></Root>',
    )
    access = config.logs["access_log"]
    assert access.files == (LogFile(Path("logs/access_log.log"), 10 * MIB, 3),)
    assert not access.console
    assert config.logs["mms_log"] == Log("off", (), True)


def test_names_are_looked_up(tmp_path: Path) -> None:
    """Properties of the file, which may use variables; a namespace changes nothing."""
    path = tmp_path / "log4j2.xml"
    path.write_text(
        '<Configuration xmlns="urn:x"><Properties><Property name="dir">${env:A:-a}/b</Property>'
        '</Properties><Appenders><File name="f" fileName="${dir}/${gone:-c}"/></Appenders>'
        '<Loggers><Root><AppenderRef ref="f"/></Root></Loggers></Configuration>'
    )
    assert read(path, {}).logs["mms_log"].files == (LogFile(Path("a/b/c")),)
    assert read(path, {"A": "x"}).logs["mms_log"].files == (LogFile(Path("x/b/c")),)


def test_what_cannot_be_done_is_named(tmp_path: Path) -> None:
    """Elements, layouts, appenders and loggers that have no meaning here."""
    config = parsed(
        tmp_path,
        '<Socket name="s"/><Console name="c" target="SYSTEM_ERR"><QLogLayout/></Console>'
        '<File name="f" fileName="x"><PatternLayout pattern="%m"/><Filter/></File>',
        '<Logger name="my.own"/><Root><AppenderRef ref="s"/></Root><Else/>',
    )
    said = [each.removeprefix(f"{tmp_path / 'log4j2.xml'}: ") for each in config.warnings]
    assert said == [
        '<Socket name="s"> is no appender that can be used.',
        '<Console name="c"> goes to standard output.',
        "<QLogLayout> is not used: lines have Multi Model Server's form.",
        "<PatternLayout> is not used: lines have Multi Model Server's form.",
        "<Filter> is not used: files are rolled by their size.",
        '<Logger name="my.own"> is no log of this server.',
        "there is no usable appender 's'.",
        "<Else> is not used.",
    ]


@pytest.mark.parametrize(
    ("appenders", "loggers", "message"),
    [
        ("<File name='f'/>", "", "File in .* has no fileName"),
        (ROLLING.format(name="x").replace("10 MB", "big"), "", 'size="big" is no size'),
        (ROLLING.format(name="x").replace('max="3"', 'max="no"'), "", 'max="no" is no number'),
        ("", '<Root level="loud"/>', 'level="loud" is none of all, '),
        ("<", "", "cannot be read"),
    ],
)
def test_a_bad_file_is_refused(appenders: str, loggers: str, message: str, tmp_path: Path) -> None:
    """One line that names file and value."""
    with pytest.raises(ConfigError, match=message):
        parsed(tmp_path, appenders, loggers)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    """Log4j 1's, or one that is not there."""
    (tmp_path / "a.xml").write_text("<log4j/>")
    with pytest.raises(ConfigError, match=r"a.xml begins with log4j: no log4j2\.xml"):
        read(tmp_path / "a.xml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "gone.xml")


def test_without_a_file_it_is_multi_model_servers() -> None:
    """Five files of 100 MB, five kept; everything also to the console and the server's log."""
    logs = default(Path("a"), Path("b")).logs
    server = LogFile(Path("a/mms_log.log"), 100 * MIB, 5)
    assert logs["mms_log"] == Log("debug", (server,), True)
    assert logs["access_log"] == Log("info", (LogFile(Path("a/access_log.log")), server), True)
    assert logs["model_metrics"].files == (LogFile(Path("b/model_metrics.log")), server)

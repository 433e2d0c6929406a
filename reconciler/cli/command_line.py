"""The command line as history and the lock keep it."""

from __future__ import annotations

import shlex

import click
from click.core import ParameterSource


def command_line(context: click.Context) -> str:
    """The command with the arguments and options that were given to it, as a shell would take them: `apply p.json --keep-going`.

    The global options are left out: the state that it is kept in says which workspace it was.
    """
    words = [context.info_name or ""]
    given = [
        (parameter, context.params[parameter.name])
        for parameter in context.command.params
        if parameter.name in context.params and context.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT
    ]
    for parameter, value in given:
        if isinstance(parameter, click.Argument):
            words += [str(one) for one in (value if isinstance(value, tuple) else (value,))]
    for parameter, value in given:
        if isinstance(parameter, click.Option):
            flag = max(parameter.opts, key=len)
            words += [flag] if parameter.is_flag else [flag, str(value)]
    return shlex.join(words)

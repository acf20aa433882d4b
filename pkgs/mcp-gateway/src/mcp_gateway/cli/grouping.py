"""A group whose everyday command is `list`: `servers` is `servers list`."""

import click


class ListByDefault(click.Group):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_help = bool(args) and args[0] in ctx.help_option_names
        if not is_help and not ctx.resilient_parsing and (not args or args[0].startswith("-")):
            args = ["list", *args]
        return super().parse_args(ctx, args)

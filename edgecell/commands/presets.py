"""``edgecell presets``: the named models that `edgecell train` takes."""

from edgecell import console
from edgecell.console import JsonOption, OutputOption


def presets(as_json: JsonOption = False, output: OutputOption = None) -> None:
    """Lists the presets: input, parameters, what each is, where it was published."""
    console.check_output(output)
    from edgecell.tasks import listing_presets

    console.present(
        listing_presets.document(), [listing_presets.table()], as_json=as_json, output=output
    )
    console.say("Next: edgecell train --preset NAME")

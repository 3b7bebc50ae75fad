"""The commands, by topic. Importing this package adds all of them to the application."""

# In the order of `octavo --help`.
from octavo.cli.commands import runs as runs  # isort: skip
from octavo.cli.commands import quantization as quantization  # isort: skip
from octavo.cli.commands import analysis as analysis  # isort: skip
from octavo.cli.commands import deployment as deployment  # isort: skip
from octavo.cli.app import app as app

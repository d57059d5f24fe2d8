# SPDX-License-Identifier: GPL-2.0-or-later
"""What the package installs beside the code, and what makes it: configuration, man pages, completions."""

# SPDX-License-Identifier: GPL-2.0-or-later
"""All that knows an instruction set: registers, injected code, detours, relocations, restarts, reach."""

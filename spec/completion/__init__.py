# SPDX-License-Identifier: GPL-2.0-or-later
"""Completions for bash, zsh and fish: tables made from the commands' parsers, in templates that are shell code.

They start no Python at a TAB, and need no bash-completion.
"""

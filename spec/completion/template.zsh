#compdef @program@
# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of @program@ for zsh, made by "python3 -m spec.generate" from what its commands understand.

@function@() {
@body@
}

@function@ "$@"

# SPDX-License-Identifier: GPL-2.0-or-later
# Completion of @program@ for fish, made by "python3 -m spec.generate" from what its commands understand.

# Whether this command stands on the command line; "" for none.
function _@function@_is
    for word in (commandline -opc)[2..-1]
        if contains -- $word @names@
            test "$word" = "$argv"
            return
        end
    end
    test -z "$argv"
end

# What is being typed, without the --option= before it.
function _@function@_typed
    string replace -r '^--[^=]*=' '' -- (commandline -ct)
end

# The files whose names match a regular expression, and the ways to them: what fish offers a command it knows nothing of.
function _@function@_files
    complete -C "_@function@_without_completions "(_@function@_typed) | string match -re -- "/\$|$argv"
end

complete -c @program@ -f
@completions@

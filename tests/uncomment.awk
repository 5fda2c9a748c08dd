# C text without its comments; strings, line numbers and columns before a comment stay.
{
    out = ""
    n = length($0)
    for (i = 1; i <= n; i++) {
        c = substr($0, i, 1)
        d = substr($0, i, 2)
        if (inside) {
            if (d == "*/") { inside = 0; i++ }
        } else if (quote != "") {
            out = out c
            if (c == "\\") { i++; out = out substr($0, i, 1) }
            else if (c == quote) quote = ""
        } else if (d == "/*") { inside = 1; i++ }
        else if (d == "//") break
        else { if (c == "\"" || c == "'") quote = c; out = out c }
    }
    quote = ""
    print out
}

"""Extents of a signature: integers, or texts over the symbolic dims (docs/bridge.md).

`extent_parse(text)` gives a function from {dim: value} to the extent. Precedence as in C; `/` and
`rem` round toward zero, `//` and `%` down, division by zero gives 0, as everywhere in lcc.
"""
import re

TOKEN = re.compile(r"\s*(\d+|[A-Za-z_]\w*|//|<=|>=|==|!=|&&|\|\||[-+*/%<>()?:,!])")
BINARY = [["||"], ["&&"], ["==", "!="], ["<", "<=", ">", ">="], ["+", "-"], ["*", "/", "//", "%"]]


def floor_div(a, b):
    return a // b if b else 0


def trunc_div(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else 0


OPS = {
    "||": lambda a, b: int(bool(a) or bool(b)), "&&": lambda a, b: int(bool(a) and bool(b)),
    "==": lambda a, b: int(a == b), "!=": lambda a, b: int(a != b),
    "<": lambda a, b: int(a < b), "<=": lambda a, b: int(a <= b),
    ">": lambda a, b: int(a > b), ">=": lambda a, b: int(a >= b),
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b,
    "/": trunc_div, "//": floor_div, "%": lambda a, b: a % b if b else 0,
}
CALLS = {
    "min": min, "max": max, "select": lambda c, a, b: a if c else b, "neg": lambda a: -a,
    "abs": abs, "rem": lambda a, b: a - trunc_div(a, b) * b if b else 0, "i64": lambda a: a,
}


class Parser:
    def __init__(self, text):
        self.text, self.tokens, at = text, [], 0
        while text[at:].strip():
            m = TOKEN.match(text, at)
            if not m:
                raise ValueError(f"extent {text!r}: unexpected {text[at:].strip()[0]!r}")
            self.tokens.append(m.group(1))
            at = m.end()

    def peek(self):
        return self.tokens[0] if self.tokens else ""

    def take(self, token):
        if self.peek() != token:
            return False
        self.tokens.pop(0)
        return True

    def need(self, token):
        if not self.take(token):
            raise ValueError(f"extent {self.text!r}: {token!r} expected before {self.peek()!r}")

    def ternary(self):
        c = self.binary(0)
        if not self.take("?"):
            return c
        a = self.ternary()
        self.need(":")
        b = self.ternary()
        return lambda env: a(env) if c(env) else b(env)

    def binary(self, level):
        if level == len(BINARY):
            return self.unary()
        left = self.binary(level + 1)
        while self.peek() in BINARY[level]:
            left = apply_op(OPS[self.tokens.pop(0)], left, self.binary(level + 1))
        return left

    def unary(self):
        if self.take("-"):
            return apply_op(CALLS["neg"], self.unary())
        if self.take("!"):
            return apply_op(lambda a: int(not a), self.unary())
        if self.take("("):
            e = self.ternary()
            self.need(")")
            return e
        token = self.tokens.pop(0) if self.tokens else ""
        if token.isdigit():
            return lambda env, v=int(token): v
        if not re.match(r"[A-Za-z_]", token):
            raise ValueError(f"extent {self.text!r}: operand expected before {token!r}")
        if not self.take("("):
            return lambda env: env[token]
        args = [self.ternary()]
        while self.take(","):
            args.append(self.ternary())
        self.need(")")
        if token not in CALLS:
            raise ValueError(f"extent {self.text!r}: unknown function {token!r}")
        return apply_op(CALLS[token], *args)


def apply_op(fn, *kids):
    return lambda env: fn(*[kid(env) for kid in kids])


def extent_parse(entry):
    """Function {dim: value} -> int of one entry of a shape; None for a data-dependent extent."""
    if entry is None:
        return None
    if isinstance(entry, int):
        return lambda env: entry
    parser = Parser(entry)
    fn = parser.ternary()
    if parser.tokens:
        raise ValueError(f"extent {entry!r}: {parser.peek()!r} left over")
    return fn

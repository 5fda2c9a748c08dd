/* Two tensors, element by element: the largest difference, in ULP too, against a bound.
 *
 * Rule lepton bounds |d| by 1e-6 + 1e-4 x the largest |reference| of the tensor (types below f32: by one
 * step of the type there); rule onnx by 1e-7 + 1e-3 x |reference| each; --tol ABS,REL by
 * ABS + REL x the largest. Integers, bools and texts are equal or not, unless --tol is given. */
#include "driver/check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool rule_read(Args *a, Rule *r) {
    *r = (Rule){"lepton", 1e-6, 1e-4, false, false};
    if (a->tolerance && !strcmp(a->tolerance, "onnx"))
        *r = (Rule){"onnx", 1e-7, 1e-3, true, false};
    if (!a->tol)
        return true;
    char *end;
    *r = (Rule){"--tol", strtod(a->tol, &end), 0, false, true};
    bool ok = end > a->tol;
    if (ok && *end == ',') {
        const char *rel = end + 1;
        r->rel = strtod(rel, &end);
        ok = end > rel;
    }
    if (ok && !*end && r->abs >= 0 && r->rel >= 0)
        return true;
    return diag_error(a->ctx, EXIT_USAGE, NULL, "--tol=%s: expected ABS or ABS,REL", a->tol);
}

void rule_text(Text *t, const Rule *r) {
    text_f(t, "%s: |d| <= %g + %g x %s", r->name, r->abs, r->rel,
           r->each ? "|reference|" : "the largest |reference|");
}

/* The distance between neighbours of 1 in the type. */
static double type_step(Dtype type) {
    switch (type) {
    case T_F64:
        return 0x1p-52;
    case T_F32:
        return 0x1p-23;
    case T_F16:
        return 0x1p-10;
    case T_BF16:
        return 0x1p-7;
    case T_F8E4M3FN:
    case T_F8E4M3FNUZ:
        return 0x1p-3;
    case T_F8E5M2:
    case T_F8E5M2FNUZ:
        return 0x1p-2;
    case T_F4E2M1:
        return 0x1p-1;
    default:
        return 1;
    }
}

/* |x - y| in units of the last place of y. */
static double ulps(Dtype type, double x, double y) {
    int e;
    double low = type == T_F64   ? 0x1p-1074
                 : type == T_F32 ? 0x1p-149
                 : type == T_F16 ? 0x1p-24
                                 : 0x1p-133;
    frexp(y, &e);
    double step = y == 0 ? low : ldexp(type_step(type), e - 1);
    return fabs(x - y) / (step > low ? step : low);
}

static bool strings_equal(const OnnxTensor *x, const OnnxTensor *y, Compared *c) {
    const OnnxString *s = x->data, *r = y->data;
    for (int64_t i = 0; i < x->count; i++)
        if (s[i].len != r[i].len || memcmp(s[i].at, r[i].at, s[i].len)) {
            c->worst = c->bad++ ? c->worst : i;
        }
    return !c->bad;
}

/* Complex numbers are compared by their parts. */
static OnnxTensor parts_of(const OnnxTensor *t) {
    OnnxTensor p = *t;
    Dtype type = type_from_onnx(t->type);
    if (type == T_C64 || type == T_C128) {
        p.type = type_onnx(type == T_C64 ? T_F32 : T_F64);
        p.count *= 2;
    }
    return p;
}

static double largest(const OnnxTensor *t) {
    double most = 0;
    for (int64_t i = 0; i < t->count; i++) {
        double v = fabs(tensor_at(t, i));
        most = v - v == 0 && v > most ? v : most;
    }
    return most;
}

static void compare_numbers(const OnnxTensor *got, const OnnxTensor *want, const Rule *r,
                            Compared *c) {
    Dtype type = type_from_onnx(want->type);
    bool exact = !type_is_float(type) && !r->given;
    double rel = !r->given && !r->each && type_step(type) > r->rel ? type_step(type) : r->rel;
    double most = largest(want), bound = exact ? 0 : r->abs + rel * most, share = -1;
    c->bound = bound;
    for (int64_t i = 0; i < want->count; i++) {
        double x = tensor_at(got, i), y = tensor_at(want, i);
        if (x == y || (x != x && y != y))
            continue;
        double d = fabs(x - y), limit = r->each && !exact ? r->abs + r->rel * fabs(y) : bound;
        bool bad = !(d <= limit) || (y - y != 0);
        double over = bad && !(d < INFINITY) ? INFINITY : limit > 0 ? d / limit : d;
        c->bad += bad;
        c->d = !(d <= c->d) ? d : c->d;
        if (over > share) {
            share = over;
            c->worst = i;
            c->ulp = type_is_float(type) && d < INFINITY ? ulps(type, x, y) : 0;
        }
    }
}

bool tensors_compare(const OnnxTensor *got, const OnnxTensor *want, const Rule *r, Compared *c) {
    *c = (Compared){.worst = -1};
    c->shape = got->type == want->type && got->rank == want->rank;
    for (int i = 0; c->shape && i < want->rank; i++)
        c->shape = got->dims[i] == want->dims[i];
    if (!c->shape)
        return false;
    if (type_from_onnx(want->type) == T_STR)
        return strings_equal(got, want, c);
    OnnxTensor x = parts_of(got), y = parts_of(want);
    compare_numbers(&x, &y, r, c);
    return !c->bad;
}

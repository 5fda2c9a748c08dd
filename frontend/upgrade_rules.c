/* frontend/upgrade_rules.c — the rules that rows of upgrade.def name.
 *
 * Each rule has the node at hand (up->n) in an older form and leaves it one step newer; the text `args`
 * comes from the row and is trusted. Rules with shapes in them use nodes, never guesses:
 *   Slice-1 <starts, ends> (x)  →  Slice (x, [starts], [ends], [0, 1, …])                          */
#include "frontend/upgrade.h"

#include <stdlib.h>
#include <string.h>

/* Copies the next word of *args, up to one of `stops`, and steps over it and one stop. */
static bool next_word(const char **args, const char *stops, char *word, size_t room) {
    size_t n = strcspn(*args, stops);
    if (!n || n >= room)
        return false;
    memcpy(word, *args, n);
    word[n] = 0;
    *args += n;
    if (**args)
        ++*args;
    return true;
}

static bool refuse(Up *up, const char *what) {
    return diag_error(up->ctx, EXIT_UNSUPPORTED, &up->n->loc, "%s is not supported", what);
}

/* ---- attributes ------------------------------------------------------------------------------- */

bool up_drop_attrs(Up *up, const char *args) {
    char word[64];
    while (next_word(&args, " ", word, sizeof word))
        up_drop(up->n, word);
    return true;
}

bool up_default(Up *up, const char *args) {
    char name[64];
    next_word(&args, "=", name, sizeof name);
    if (node_attr(up->n, name))
        return true;
    char *end;
    double f = strtod(args, &end);
    if (end == args) {
        up_attr(up, up->n, name, ATTR_STRING)->s = (ConstStr){args, (int64_t)strlen(args)};
    } else if (strchr(args, '.')) {
        up_attr(up, up->n, name, ATTR_FLOAT)->f = (float)f;
    } else {
        up_attr(up, up->n, name, ATTR_INT)->i = (int64_t)f;
    }
    return true;
}

bool up_rename(Up *up, const char *args) {
    char name[64];
    next_word(&args, "=", name, sizeof name);
    for (int i = 0; i < up->n->nattr; i++)
        if (strcmp(up->n->attr[i].name, name) == 0)
            up->n->attr[i].name = str(up->ctx, args);
    return true;
}

bool up_words(Up *up, const char *args) {
    char name[64], from[64], to[64];
    next_word(&args, " ", name, sizeof name);
    Str now = node_str(up->ctx, up->n, name, "");
    while (next_word(&args, "=", from, sizeof from) && next_word(&args, " ", to, sizeof to))
        if (strcmp(now, from) == 0) {
            Str s = str(up->ctx, to);
            up_attr(up, up->n, name, ATTR_STRING)->s = (ConstStr){s, (int64_t)strlen(s)};
        }
    return true;
}

bool up_become(Up *up, const char *args) {
    const char *dot = strrchr(args, '.');
    up->n->domain = dot ? str_n(up->ctx, args, (size_t)(dot - args)) : str(up->ctx, "");
    up->n->op = str(up->ctx, dot ? dot + 1 : args);
    return true;
}

bool up_float_to_int(Up *up, const char *args) {
    const Attr *a = node_attr(up->n, args);
    if (!a || a->kind != ATTR_FLOAT)
        return true;
    int64_t i = a->f >= 0 && a->f < 1000 ? (int64_t)a->f : -1;
    if ((double)i != a->f)
        return refuse(up, "a norm of that order");
    up_drop(up->n, args);
    up_attr(up, up->n, args, ATTR_INT)->i = i;
    return true;
}

/* Element types were names ("FLOAT16"), now they are numbers. */
bool up_cast_names(Up *up, const char *args) {
    (void)args;
    static const struct {
        const char *name;
        Dtype type;
    } NAMES[] = {{"FLOAT", T_F32},  {"UINT8", T_U8},      {"INT8", T_I8},        {"UINT16", T_U16},
                 {"INT16", T_I16},  {"INT32", T_I32},     {"INT64", T_I64},      {"STRING", T_STR},
                 {"BOOL", T_BOOL},  {"FLOAT16", T_F16},   {"DOUBLE", T_F64},     {"UINT32", T_U32},
                 {"UINT64", T_U64}, {"COMPLEX64", T_C64}, {"COMPLEX128", T_C128}};
    Str to = node_str(up->ctx, up->n, "to", "");
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (strcmp(NAMES[i].name, to) == 0) {
            up_drop(up->n, "to");
            up_attr(up, up->n, "to", ATTR_INT)->i = type_onnx(NAMES[i].type);
            return true;
        }
    return diag_error(up->ctx, EXIT_MALFORMED, &up->n->loc, "'%s' is not an element type", to);
}

/* ---- attributes that became inputs -------------------------------------------------------------- */

/* A scalar of the first input's element type. */
static Value *float_like(Up *up, double f) {
    const Value *x = up->n->nin ? up->n->in[0] : NULL;
    Dtype type = x && x->init ? x->init->data->type : x && x->info ? x->info->type : T_NONE;
    Value *v = up_f32(up, 0, 1, &f);
    return type == T_F32 || !x ? v : up_op(up, "CastLike", 2, (Value *[]){v, up->n->in[0]});
}

static Value *attr_value(Up *up, const Attr *a, char kind) {
    if (kind == 'I' && a->kind == ATTR_INTS)
        return up_i64(up, 1, a->n, a->ints);
    if (kind == 'F' && a->kind == ATTR_FLOATS)
        return up_f32(up, 1, a->n, a->floats);
    if ((kind == 'i' || kind == 's') && a->kind == ATTR_INT)
        return up_i64(up, kind == 'i', 1, &a->i);
    if (kind == 'f' && a->kind == ATTR_FLOAT)
        return float_like(up, a->f);
    return NULL;
}

bool up_inputs(Up *up, const char *args) {
    char name[64], place[8], kind[8];
    Node *n = up->n;
    while (next_word(&args, ":", name, sizeof name) && next_word(&args, ":", place, sizeof place) &&
           next_word(&args, " ", kind, sizeof kind)) {
        const Attr *a = node_attr(n, name);
        int i = (int)strtol(place, NULL, 10);
        if (!a)
            continue;
        Value *v = attr_value(up, a, kind[0]);
        if (!v || (i < n->nin && n->in[i]))
            return diag_error(up->ctx, EXIT_MALFORMED, &n->loc, "attribute '%s' is %s", name,
                              v ? "given twice, also as an input" : "of the wrong kind");
        up_set_input(up, n, i, v);
        up_drop(n, name);
    }
    return true;
}

bool up_slice_axes(Up *up, const char *args) {
    (void)args;
    int n = 0;
    node_ints(up->n, "starts", &n);
    if (node_attr(up->n, "axes"))
        return true;
    int64_t *axes = ctx_newn(up->ctx, int64_t, n);
    for (int i = 0; i < n; i++)
        axes[i] = i;
    Attr *a = up_attr(up, up->n, "axes", ATTR_INTS);
    a->n = n;
    a->ints = axes;
    return true;
}

/* Neither sizes nor a count of parts: as many equal parts as there are outputs. */
bool up_split(Up *up, const char *args) {
    (void)args;
    if (up->n->nin < 2 || !up->n->in[1])
        up_attr(up, up->n, "num_outputs", ATTR_INT)->i = up->n->nout;
    return true;
}

/* ---- broadcasting before opset 7 ---------------------------------------------------------------- */

/* B got trailing dimensions of 1, so that its first dimension met `axis` of A. */
static void align(Up *up, int64_t axis) {
    Node *n = up_node(up, "lcc.AlignAxis", 2, up->n->in);
    up_attr(up, n, "axis", ATTR_INT)->i = axis;
    up->n->in[1] = n->out[0];
}

bool up_broadcast(Up *up, const char *args) {
    (void)args;
    Node *n = up->n;
    const Attr *axis = node_attr(n, "axis");
    bool both = n->nin == 2 && n->in[0] && n->in[1];
    if (axis && axis->kind == ATTR_INT && node_int(n, "broadcast", 0) && both)
        align(up, axis->i);
    up_drop(n, "axis");
    up_drop(n, "broadcast");
    return true;
}

/* The slope of PRelu was one number, or one a channel. */
bool up_align_channel(Up *up, const char *args) {
    (void)args;
    if (up->n->nin == 2 && up->n->in[0] && up->n->in[1])
        align(up, 1);
    return true;
}

/* ---- single ops ------------------------------------------------------------------------------- */

bool up_batchnorm(Up *up, const char *args) {
    (void)args;
    if (node_int(up->n, "spatial", 1) != 1)
        return refuse(up, "BatchNormalization with spatial = 0");
    up_drop(up->n, "spatial");
    up_drop(up->n, "is_test");
    return true;
}

/* Outputs that only training fills. */
bool up_one_output(Up *up, const char *args) {
    for (int i = 1; i < up->n->nout; i++)
        if (up->n->out[i] && up_used(up, up->n->out[i]))
            return diag_error(up->ctx, EXIT_UNSUPPORTED, &up->n->loc,
                              "output '%s' is used, but %s exist in training only",
                              up->n->out[i]->name, args);
    if (up->n->nout > 1)
        up->n->nout = 1;
    return true;
}

bool up_upsample_scales(Up *up, const char *args) {
    (void)args;
    double *scales = ctx_newn(up->ctx, double, 4);
    scales[0] = scales[1] = 1;
    scales[2] = node_float(up->n, "height_scale", 1);
    scales[3] = node_float(up->n, "width_scale", 1);
    up_drop(up->n, "height_scale");
    up_drop(up->n, "width_scale");
    Attr *a = up_attr(up, up->n, "scales", ATTR_FLOATS);
    a->n = 4;
    a->floats = scales;
    return true;
}

/* (x, scales) → (x, roi, scales), with the sampling that was the only one. */
bool up_resize(Up *up, const char *args) {
    (void)args;
    Node *n = up->n;
    if (n->nin != 2)
        return diag_error(up->ctx, EXIT_MALFORMED, &n->loc, "%s has 2 inputs, not %d", n->op,
                          n->nin);
    up_set_input(up, n, 2, n->in[1]);
    n->in[1] = NULL;
    up_words(up, "mode bilinear=linear");
    up_default(up, "coordinate_transformation_mode=asymmetric");
    return up_default(up, "nearest_mode=floor");
}

/* scale and bias had one element a group, now one a channel: each is repeated C / groups times. */
bool up_group_norm(Up *up, const char *args) {
    (void)args;
    Node *n = up->n;
    if (n->nin != 3 || !n->in[0])
        return true;
    int64_t groups = node_int(n, "num_groups", 1), column[2] = {groups, 1}, flat = -1;
    Value *g = up_i64(up, 1, 1, &groups);
    Node *shape = up_node(up, "Shape", 1, n->in);
    up_attr(up, shape, "start", ATTR_INT)->i = 1;
    up_attr(up, shape, "end", ATTR_INT)->i = 2;
    Value *each = up_op(up, "Div", 2, (Value *[]){shape->out[0], g});
    Node *wide = up_node(up, "Concat", 2, (Value *[]){g, each});
    up_attr(up, wide, "axis", ATTR_INT)->i = 0;
    Value *rows = up_i64(up, 1, 2, column), *all = up_i64(up, 1, 1, &flat);
    for (int i = 1; i < 3; i++) {
        Value *v = up_op(up, "Reshape", 2, (Value *[]){n->in[i], rows});
        v = up_op(up, "Expand", 2, (Value *[]){v, wide->out[0]});
        n->in[i] = up_op(up, "Reshape", 2, (Value *[]){v, all});
    }
    return true;
}

/* Tile-1 (x, tiles, axis): repeats is 1 but at `axis`. */
bool up_tile(Up *up, const char *args) {
    (void)args;
    Node *n = up->n;
    if (n->nin != 3 || !n->in[0] || !n->in[1] || !n->in[2])
        return diag_error(up->ctx, EXIT_MALFORMED, &n->loc, "Tile-1 has 3 inputs");
    int64_t zero = 0, one = 1;
    Value *numbers[2];
    for (int i = 0; i < 2; i++) {
        Node *cast = up_node(up, "Cast", 1, &n->in[i + 1]);
        up_attr(up, cast, "to", ATTR_INT)->i = type_onnx(T_I64);
        numbers[i] = cast->out[0];
    }
    Value *shape = up_op(up, "Shape", 1, n->in);
    Value *rank = up_op(up, "Size", 1, &shape);
    Value *ones = up_i64(up, 0, 1, &one);
    Value *axes = up_op(up, "Range", 3, (Value *[]){up_i64(up, 0, 1, &zero), rank, ones});
    Value *here = up_op(up, "Equal", 2, (Value *[]){axes, numbers[1]});
    n->in[1] = up_op(up, "Where", 3, (Value *[]){here, numbers[0], ones});
    n->nin = 2;
    return true;
}

/* A table of strings, read from text to position or back by the type of what comes in. */
bool up_label_encoder(Up *up, const char *args) {
    (void)args;
    Node *n = up->n;
    const Attr *classes = node_attr(n, "classes_strings");
    if (!classes || classes->kind != ATTR_STRINGS || n->nin != 1 || !n->in[0])
        return diag_error(up->ctx, EXIT_MALFORMED, &n->loc,
                          "attribute 'classes_strings' is missing");
    int count = classes->n;
    const ConstStr *strings = classes->strings;
    int64_t *numbers = ctx_newn(up->ctx, int64_t, count);
    for (int i = 0; i < count; i++)
        numbers[i] = i;
    bool from_text = !n->in[0]->info || n->in[0]->info->type != T_I64;
    up_drop(n, "classes_strings");
    Attr *s = up_attr(up, n, from_text ? "keys_strings" : "values_strings", ATTR_STRINGS);
    s->n = count;
    s->strings = strings;
    Attr *i = up_attr(up, n, from_text ? "values_int64s" : "keys_int64s", ATTR_INTS);
    i->n = count;
    i->ints = numbers;
    return true;
}

/* Scan-8 ran over axis 1 and once for each batch in axis 0: a scan over the batches of scans. */
bool up_scan(Up *up, const char *args) {
    (void)args;
    Node *n = up->n;
    const Attr *body = node_attr(n, "body"), *directions = node_attr(n, "directions");
    if (!body || !body->graph || n->nin < 1)
        return diag_error(up->ctx, EXIT_MALFORMED, &n->loc, "Scan-8 has no body or no inputs");
    if (n->in[0])
        return refuse(up, "Scan-8 with sequence_lens");
    Up in = *up;
    in.graph = ctx_new(up->ctx, Graph);
    in.graph->name = body->graph->name;
    in.graph->outer = up->graph;
    in.nodes.at = NULL;
    in.nodes.len = in.nodes.cap = 0;
    for (int i = 1; i < n->nin; i++)
        vec_push(up->ctx, &in.graph->inputs, up_value(&in, "batch"));
    Node *scan = up_node(&in, "Scan", n->nin - 1, in.graph->inputs.at);
    scan->nout = n->nout;
    scan->out = ctx_newn(up->ctx, Value *, n->nout);
    for (int i = 0; i < n->nout; i++) {
        scan->out[i] = up_value(&in, "out");
        scan->out[i]->by = scan;
        vec_push(up->ctx, &in.graph->outputs, scan->out[i]);
    }
    up_attr(up, scan, "num_scan_inputs", ATTR_INT)->i = node_int(n, "num_scan_inputs", 0);
    if (directions) {
        Attr *a = up_attr(up, scan, "scan_input_directions", ATTR_INTS);
        Str name = a->name;
        *a = *directions;
        a->name = name;
    }
    up_attr(up, scan, "body", ATTR_GRAPH)->graph = body->graph;
    body->graph->outer = in.graph;
    vec_push(up->ctx, &in.graph->nodes, scan);
    up_drop(n, "directions");
    n->in++;
    n->nin--;
    up_attr(up, n, "num_scan_inputs", ATTR_INT)->i = n->nin;
    up_attr(up, n, "body", ATTR_GRAPH)->graph = in.graph;
    return true;
}

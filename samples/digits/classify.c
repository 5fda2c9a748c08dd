/* classify.c — says which digit a picture shows: the generated digits.c dropped into a program.
 *
 *     lcc digits.onnx --target=c -o digits.c && cc classify.c digits.c -lpng -lm -o classify
 *     ./classify images/digit_7.png            digit 7 (probability 0.98)
 *
 * Takes PNG and PGM of any size, light ink on dark or dark on light. The model wants what it was
 * trained on: 8x8 averages of ink, 1 where there is most, the digit filling the square. */
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digits.h"

enum { SIDE = 8, DIGITS = 10, LARGEST = 1 << 14 /* pixels a side */ };

typedef struct Picture {
    int width, height;
    unsigned char *gray; /* width * height, row by row; the caller frees it */
} Picture;

static int png_load(const char *path, Picture *p) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    png_color white = {255, 255, 255};
    if (!png_image_begin_read_from_file(&image, path))
        return 0;
    image.format = PNG_FORMAT_GRAY;
    if (image.width <= LARGEST && image.height <= LARGEST)
        p->gray = malloc(PNG_IMAGE_SIZE(image));
    if (!p->gray || !png_image_finish_read(&image, &white, p->gray, 0, NULL)) {
        png_image_free(&image);
        return 0;
    }
    p->width = (int)image.width;
    p->height = (int)image.height;
    return 1;
}

/* The next number of a PGM header, past white space and comments; -1 at anything else. */
static int pgm_number(FILE *f) {
    int c = fgetc(f), n = 0, digits = 0;
    while (c == '#' || c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        while (c == '#' && (c = fgetc(f)) != EOF && c != '\n')
            c = '#';
        c = fgetc(f);
    }
    for (; c >= '0' && c <= '9' && digits < 6; digits++, c = fgetc(f))
        n = n * 10 + c - '0';
    return digits ? n : -1;
}

/* Binary (P5) and text (P2), up to 255 levels. */
static int pgm_load(const char *path, Picture *p) {
    FILE *f = fopen(path, "rb");
    int text, most = 0, ok = 0;
    if (!f)
        return 0;
    if (fgetc(f) == 'P' && ((text = fgetc(f)) == '2' || text == '5')) {
        p->width = pgm_number(f);
        p->height = pgm_number(f);
        most = pgm_number(f);
        ok = p->width > 0 && p->width <= LARGEST && p->height > 0 && p->height <= LARGEST &&
             most > 0 && most <= 255;
        if (ok && (p->gray = malloc((size_t)p->width * (size_t)p->height))) {
            for (int i = 0; ok && i < p->width * p->height; i++) {
                int v = text == '2' ? pgm_number(f) : fgetc(f);
                ok = v >= 0 && v <= most;
                p->gray[i] = (unsigned char)(ok ? v * 255 / most : 0);
            }
        }
    }
    fclose(f);
    return ok && p->gray;
}

static int level_compare(const void *a, const void *b) {
    return *(const unsigned char *)a - *(const unsigned char *)b;
}

/* Replaces levels by ink: the distance from the paper, which is the median of the border. */
static int ink_find(Picture *p) {
    int w = p->width, h = p->height, n = 0, most = 0;
    unsigned char *border = malloc(2 * ((size_t)w + (size_t)h));
    if (!border)
        return 0;
    for (int x = 0; x < w; x++) {
        border[n++] = p->gray[x];
        border[n++] = p->gray[(h - 1) * w + x];
    }
    for (int y = 0; y < h; y++) {
        border[n++] = p->gray[y * w];
        border[n++] = p->gray[y * w + w - 1];
    }
    qsort(border, (size_t)n, 1, level_compare);
    int paper = border[n / 2];
    free(border);
    for (int i = 0; i < w * h; i++) {
        int ink = paper >= 128 ? paper - p->gray[i] : p->gray[i] - paper;
        p->gray[i] = (unsigned char)(ink > 0 ? ink : 0);
        most = p->gray[i] > most ? p->gray[i] : most;
    }
    for (int i = 0; i < w * h && most; i++)
        p->gray[i] = (unsigned char)(p->gray[i] * 255 / most);
    return most > 0;
}

/* How much of the unit [i, i + 1] lies in [from, to]. */
static double overlap(int i, double from, double to) {
    double a = from > i ? from : i, b = to < i + 1 ? to : i + 1;
    return b > a ? b - a : 0;
}

/* The average ink of a box, which may reach past the picture. */
static double box_average(const Picture *p, double left, double top, double side) {
    int x0 = left > 0 ? (int)left : 0, y0 = top > 0 ? (int)top : 0;
    double sum = 0;
    for (int y = y0; y < p->height && y < top + side; y++)
        for (int x = x0; x < p->width && x < left + side; x++)
            sum += p->gray[y * p->width + x] * overlap(x, left, left + side) *
                   overlap(y, top, top + side);
    return sum / (255 * side * side);
}

/* Scales the square around the ink to the model's input. */
static void picture_scale(const Picture *p, float *input) {
    int left = p->width, right = 0, top = p->height, bottom = 0;
    for (int i = 0; i < p->width * p->height; i++) {
        int x = i % p->width, y = i / p->width;
        if (p->gray[i] < 96)
            continue;
        left = x < left ? x : left;
        right = x + 1 > right ? x + 1 : right;
        top = y < top ? y : top;
        bottom = y + 1 > bottom ? y + 1 : bottom;
    }
    int side = right - left > bottom - top ? right - left : bottom - top;
    double cell = (double)side / SIDE;
    for (int i = 0; i < SIDE * SIDE; i++) {
        double x = (left + right - side) / 2.0 + i % SIDE * cell;
        double y = (top + bottom - side) / 2.0 + i / SIDE * cell;
        input[i] = (float)box_average(p, x, y, cell);
    }
}

static int classify(const char *path) {
    static unsigned char arena[DIGITS_ARENA_BYTES + 64];
    float input[SIDE * SIDE], output[DIGITS];
    Picture p = {0, 0, NULL};
    int best = 0, code;
    if ((!png_load(path, &p) && !pgm_load(path, &p)) || !ink_find(&p)) {
        fprintf(stderr, "%s: no PNG or PGM picture, or nothing drawn on it\n", path);
        free(p.gray);
        return 1;
    }
    picture_scale(&p, input);
    free(p.gray);
    code = digits_run(input, output, arena + (64 - (size_t)arena % 64) % 64);
    if (code) {
        fprintf(stderr, "digits_run: error %d\n", code);
        return 1;
    }
    for (int i = 1; i < DIGITS; i++)
        best = output[i] > output[best] ? i : best;
    printf("digit %d (probability %.2f)\n", best, (double)output[best]);
    return 0;
}

int main(int argc, char **argv) {
    int failed = argc < 2;
    if (failed)
        fprintf(stderr, "usage: classify picture.png...\n");
    for (int i = 1; i < argc; i++)
        failed |= classify(argv[i]);
    return failed;
}

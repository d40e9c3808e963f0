/* Masking in C, for devices without Python: the same pixels as edgecell_runtime.masking.

   An artifact whose manifest says "masking": "slide" expects this after the resize and before the
   graph. `pixels` are height x width x channels, 0-255, changed in place; `background` has a value a
   channel; `scratch` has height x width bytes. Nothing is allocated, nothing recurses. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NEAR = 16, LEAST_CONTRAST = 16, OUTSIDE = 1, CELL = 2, LOW = 4 };

/* The value at a rank, from 0 on, of values that were counted. */
static int at_rank(const uint32_t *counts, int rank) {
  int value = 0;
  for (int seen = counts[0]; seen <= rank; seen += counts[++value]) {
  }
  return value;
}

static int is_edge(int row, int column, int height, int width) {
  return row == 0 || column == 0 || row == height - 1 || column == width - 1;
}

/* Spreads a mark above, below and beside, over pixels that are LOW or over those that are not
   OUTSIDE, until nothing changes. */
static void spread(uint8_t *scratch, int height, int width, int mark) {
  for (int changed = 1; changed;) {
    changed = 0;
    for (int pass = 0; pass < 2; pass++) {
      for (int step = 0; step < height * width; step++) {
        int at = pass ? height * width - 1 - step : step;
        int row = at / width, column = at % width;
        int allowed = mark == OUTSIDE ? scratch[at] & LOW : !(scratch[at] & OUTSIDE);
        if (!allowed || scratch[at] & mark) continue;
        if ((row > 0 && scratch[at - width] & mark) ||
            (row < height - 1 && scratch[at + width] & mark) ||
            (column > 0 && scratch[at - 1] & mark) ||
            (column < width - 1 && scratch[at + 1] & mark)) {
          scratch[at] |= mark;
          changed = 1;
        }
      }
    }
  }
}

/* Returns whether anything was masked. */
int mask_slide(uint8_t *pixels, int height, int width, int channels, const uint8_t *background,
               uint8_t *scratch) {
  uint32_t counts[3 * 256] = {0};
  int slide[3], size = height * width, edge = 0, there = 0, painted = 0;

  /* 1. Is the background there already? */
  for (int at = 0; at < size; at++) {
    if (!is_edge(at / width, at % width, height, width)) continue;
    int sum = 0, is_near = 1;
    for (int c = 0; c < channels; c++) {
      int value = pixels[at * channels + c];
      sum += value;
      is_near &= abs(value - background[c]) <= NEAR;
    }
    counts[sum]++;
    edge++;
    there += is_near;
  }
  if (4 * there >= edge) return 0;

  /* 2. The slide's colour. */
  int middle = at_rank(counts, edge / 2);
  for (int c = 0; c < channels; c++) {
    int brighter = 0;
    memset(counts, 0, sizeof counts);
    for (int at = 0; at < size; at++) {
      if (!is_edge(at / width, at % width, height, width)) continue;
      int sum = 0;
      for (int k = 0; k < channels; k++) sum += pixels[at * channels + k];
      if (sum < middle) continue;
      counts[pixels[at * channels + c]]++;
      brighter++;
    }
    slide[c] = at_rank(counts, brighter / 2);
  }

  /* 3. The contrast of each pixel, and of the cell. */
  memset(counts, 0, sizeof counts);
  for (int at = 0; at < size; at++) {
    int contrast = 0;
    for (int c = 0; c < channels; c++) {
      int difference = abs(pixels[at * channels + c] - slide[c]);
      if (difference > contrast) contrast = difference;
    }
    scratch[at] = contrast;
    counts[contrast]++;
  }
  int typical = at_rank(counts, 3 * size / 4);
  if (typical < LEAST_CONTRAST) return 0;

  /* 4. Outside is what is reached from the edge through low contrast. */
  for (int at = 0; at < size; at++) {
    int low = 2 * scratch[at] < typical;
    int begins = low && is_edge(at / width, at % width, height, width);
    scratch[at] = (low ? LOW : 0) | (begins ? OUTSIDE : 0);
  }
  spread(scratch, height, width, OUTSIDE);

  /* 5. The cell is what is reached from the middle. */
  for (int at = 0; at < size; at++) {
    int row = at / width, column = at % width;
    int central = row >= height / 4 && row < height - height / 4 && column >= width / 4 &&
                  column < width - width / 4;
    if (central && !(scratch[at] & OUTSIDE)) scratch[at] |= CELL;
  }
  spread(scratch, height, width, CELL);

  /* 6. Is it a crop of a cell? Then paint. */
  for (int at = 0; at < size; at++)
    painted += is_edge(at / width, at % width, height, width) && !(scratch[at] & CELL);
  if (4 * painted < edge) return 0;
  for (int at = 0; at < size; at++)
    if (!(scratch[at] & CELL)) memcpy(pixels + at * channels, background, channels);
  return 1;
}

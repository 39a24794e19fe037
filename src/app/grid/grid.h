/* Grids: rows of texts printed in aligned columns, for people.
 *
 * Place: app. Width is counted in UTF-8 characters. The first row is the heading. Control bytes are
 * shown as '?': what is printed comes from other people's registrations. */
#ifndef GRID_GRID_H
#define GRID_GRID_H

#include "bytes/bytes.h"

enum {
    GRID_COLUMNS_MAX = 12,
    GRID_BYTES_MAX = 64 * 1024 * 1024
};

struct grid {
    struct buf cells; /* each followed by a zero byte */
    size_t columns;
    size_t cell_count;
    size_t widths[GRID_COLUMNS_MAX];
};

/* headings: `columns` of them. */
void grid_init(struct grid *grid, size_t columns, const char *const *headings);
void grid_done(struct grid *grid);
/* The next cell, printf style; rows fill up from left to right. What is beyond GRID_BYTES_MAX is
 * left out. */
void grid_cell(struct grid *grid, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Appends the lines, each ending in a line feed and without trailing spaces. ERR_FULL. */
ERR_CHECKED enum err grid_print(const struct grid *grid, struct buf *to);

#endif

/* Collecting cells, then printing them as wide as the widest of their column. */
#include "grid/grid.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    CELL_MAX = 1024,
    GAP = 2
};

static size_t characters(const uint8_t *text, size_t len)
{
    size_t count = 0;
    for (size_t i = 0; i < len; i++) {
        count += (text[i] & 0xc0u) != 0x80u; /* continuation bytes do not count */
    }
    return count;
}

static void add_cell(struct grid *grid, const char *text)
{
    size_t len = strlen(text);
    if (buf_reserve(&grid->cells, len + 1) != ERR_OK) {
        return;
    }
    uint8_t *to = grid->cells.data + grid->cells.len;
    memcpy(to, text, len + 1);
    for (size_t i = 0; i < len; i++) {
        if (to[i] < 0x20 || to[i] == 0x7f) {
            to[i] = '?';
        }
    }
    grid->cells.len += len + 1;
    size_t column = grid->cell_count++ % grid->columns;
    size_t width = characters(to, len);
    if (width > grid->widths[column]) {
        grid->widths[column] = width;
    }
}

void grid_init(struct grid *grid, size_t columns, const char *const *headings)
{
    CHECK(columns > 0 && columns <= GRID_COLUMNS_MAX);
    *grid = (struct grid){.columns = columns};
    buf_init(&grid->cells, GRID_BYTES_MAX);
    for (size_t i = 0; i < columns; i++) {
        add_cell(grid, headings[i]);
    }
}

void grid_done(struct grid *grid)
{
    buf_done(&grid->cells);
}

void grid_cell(struct grid *grid, const char *format, ...)
{
    char text[CELL_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    add_cell(grid, text);
}

enum err grid_print(const struct grid *grid, struct buf *to)
{
    enum err err = ERR_OK;
    size_t owed = 0; /* spaces before the next cell of this line that is not empty */
    const char *text = (const char *)grid->cells.data;
    for (size_t i = 0; i < grid->cell_count && err == ERR_OK; i++) {
        size_t column = i % grid->columns;
        size_t len = strlen(text);
        if (len > 0) {
            err = buf_printf(to, "%*s%s", (int)owed, "", text);
            owed = 0;
        }
        owed += grid->widths[column] + GAP - characters((const uint8_t *)text, len);
        if (err == ERR_OK && column + 1 == grid->columns) {
            err = buf_append(to, BYTES_LITERAL("\n"));
            owed = 0;
        }
        text += len + 1;
    }
    return err;
}

/* Grids: alignment, foreign text, empty cells. */
#include "test.h"

#include "grid/grid.h"

static const char *const HEADINGS[] = {"NAME", "N", "WHERE"};

static void is_printed(struct grid *grid, const char *expected)
{
    struct buf text;
    buf_init(&text, 4096);
    assert_int_equal(grid_print(grid, &text), ERR_OK);
    assert_int_equal(buf_append(&text, bytes_of("", 1)), ERR_OK);
    assert_string_equal((const char *)text.data, expected);
    buf_done(&text);
    grid_done(grid);
}

static void columns_are_as_wide_as_their_widest_cell(void **state)
{
    (void)state;
    struct grid grid;
    grid_init(&grid, 3, HEADINGS);
    grid_cell(&grid, "%s", "a-long-name");
    grid_cell(&grid, "%d", 12345);
    grid_cell(&grid, "x");
    is_printed(&grid, "NAME         N      WHERE\n"
                      "a-long-name  12345  x\n");
}

static void only_the_heading_is_printed_without_rows(void **state)
{
    (void)state;
    struct grid grid;
    grid_init(&grid, 3, HEADINGS);
    is_printed(&grid, "NAME  N  WHERE\n");
}

static void empty_cells_leave_no_trailing_spaces(void **state)
{
    (void)state;
    struct grid grid;
    grid_init(&grid, 3, HEADINGS);
    grid_cell(&grid, "%s", "");
    grid_cell(&grid, "2");
    grid_cell(&grid, "%s", "");
    is_printed(&grid, "NAME  N  WHERE\n"
                      "      2\n");
}

static void width_is_counted_in_characters(void **state)
{
    (void)state;
    struct grid grid;
    grid_init(&grid, 3, HEADINGS);
    grid_cell(&grid, "%s", "\xc3\xa4\xc3\xb6\xc3\xbc");
    grid_cell(&grid, "1");
    grid_cell(&grid, "y");
    is_printed(&grid, "NAME  N  WHERE\n"
                      "\xc3\xa4\xc3\xb6\xc3\xbc   1  y\n");
}

static void control_bytes_cannot_reach_the_terminal(void **state)
{
    (void)state;
    struct grid grid;
    grid_init(&grid, 3, HEADINGS);
    grid_cell(&grid, "%s", "a\x1b[2J\n");
    grid_cell(&grid, "1");
    grid_cell(&grid, "\x7f");
    is_printed(&grid, "NAME    N  WHERE\n"
                      "a?[2J?  1  ?\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_their_widest_cell),
        cmocka_unit_test(only_the_heading_is_printed_without_rows),
        cmocka_unit_test(empty_cells_leave_no_trailing_spaces),
        cmocka_unit_test(width_is_counted_in_characters),
        cmocka_unit_test(control_bytes_cannot_reach_the_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

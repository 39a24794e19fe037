/* Power of two choices.
 *
 * Place: core/balance; see balance.h. */
#include "balance/balance.h"

#include "check/check.h"

/* Maps a draw among those that may be chosen to an endpoint's number. */
static size_t skip_excluded(const struct balance_ask *ask, uint64_t draw)
{
    size_t number = (size_t)draw;
    return ask->exclude != BALANCE_NONE && number >= ask->exclude ? number + 1 : number;
}

/* The first one from `first` on, around, that need not be avoided; else `first`. */
static size_t find_good(const struct balance_ask *ask, size_t first)
{
    for (size_t i = 0; i < ask->count; i++) {
        size_t number = first + i < ask->count ? first + i : first + i - ask->count;
        if (number != ask->exclude && ask->load(ask->context, number) < BALANCE_AVOID) {
            return number;
        }
    }
    return first;
}

size_t balance_pick(const struct balance_ask *ask, struct rnd *rnd)
{
    CHECK(ask->exclude == BALANCE_NONE || ask->exclude < ask->count);
    size_t count = ask->count - (ask->exclude != BALANCE_NONE ? 1 : 0);
    if (ask->count == 0 || count == 0) {
        return BALANCE_NONE;
    }
    if (count == 1) {
        return skip_excluded(ask, 0);
    }
    uint64_t first = rnd_below(rnd, count);
    uint64_t second = rnd_below(rnd, count - 1);
    second += second >= first ? 1 : 0;
    size_t a = skip_excluded(ask, first);
    size_t b = skip_excluded(ask, second);
    uint64_t load_a = ask->load(ask->context, a);
    uint64_t load_b = ask->load(ask->context, b);
    size_t chosen = load_b < load_a ? b : a;
    if (load_a >= BALANCE_AVOID && load_b >= BALANCE_AVOID && count > 2) {
        return find_good(ask, chosen);
    }
    CHECK(chosen < ask->count);
    return chosen;
}

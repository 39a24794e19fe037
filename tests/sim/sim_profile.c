/* Profiles: which faults a run may have, and what its seed draws. See sim.h.
 *
 * A seed does not use all that its profile allows: each kind is left out in some runs, and rates
 * differ from run to run ("swarm testing", Groce et al., 2012), because faults hide each other. */
#include "sim.h"

#include <string.h>

struct profile {
    const char *name;
    clk_ns every[SIM_FAULTS]; /* mean time between two, before the seed changes it */
    uint32_t wild_percent;    /* of the runs have a wild network */
    bool early;
    bool narrow; /* most runs have few appends under way */
    bool single; /* runs with one node, too */
};

static const struct profile profiles[] = {
    {.name = "calm", .single = true},
    {.name = "network",
     .every = {[SIM_CUT] = CLK_MS(700),
               [SIM_LAG] = CLK_MS(700),
               [SIM_RESET] = CLK_MS(250),
               [SIM_PAUSE] = CLK_MS(1200)},
     .wild_percent = 40},
    {.name = "crash",
     .every = {[SIM_CRASH] = CLK_MS(400),
               [SIM_DOOM] = CLK_MS(400),
               [SIM_STOP] = CLK_MS(1500),
               [SIM_RESET] = CLK_MS(1500),
               [SIM_CUT] = CLK_MS(900)},
     .wild_percent = 20,
     .single = true},
    {.name = "leaders",
     .every = {[SIM_DOOM] = CLK_MS(80),
               [SIM_CUT] = CLK_MS(1200),
               [SIM_TRANSFER] = CLK_MS(400),
               [SIM_CRASH] = CLK_MS(1200)},
     .wild_percent = 20,
     .narrow = true},
    {.name = "disk",
     .every = {[SIM_SLOW] = CLK_MS(900),
               [SIM_STALL] = CLK_MS(1500),
               [SIM_IO_ERROR] = CLK_MS(1500),
               [SIM_FLIP] = CLK_MS(1200),
               [SIM_CRASH] = CLK_MS(1500)},
     .wild_percent = 10},
    {.name = "identity",
     .every = {[SIM_WIPE] = CLK_MS(3000),
               [SIM_ROLLBACK] = CLK_MS(1500),
               [SIM_CRASH] = CLK_MS(1200),
               [SIM_CUT] = CLK_MS(1500)},
     .wild_percent = 10},
    {.name = "birth",
     .every = {[SIM_CRASH] = CLK_MS(150), [SIM_CUT] = CLK_MS(300), [SIM_RESET] = CLK_MS(150)},
     .wild_percent = 30,
     .early = true,
     .single = true},
    {.name = "everything",
     .every = {[SIM_CUT] = CLK_MS(900),
               [SIM_LAG] = CLK_MS(2500),
               [SIM_RESET] = CLK_MS(600),
               [SIM_CRASH] = CLK_MS(900),
               [SIM_DOOM] = CLK_MS(900),
               [SIM_STOP] = CLK_MS(2500),
               [SIM_TRANSFER] = CLK_MS(700),
               [SIM_PAUSE] = CLK_MS(1500),
               [SIM_SLOW] = CLK_MS(1500),
               [SIM_STALL] = CLK_MS(2500),
               [SIM_CLOCK] = CLK_MS(1000),
               [SIM_IO_ERROR] = CLK_MS(2500),
               [SIM_FLIP] = CLK_MS(2500),
               [SIM_WIPE] = CLK_MS(6000),
               [SIM_ROLLBACK] = CLK_MS(4000)},
     .wild_percent = 30},
};

size_t sim_profile_count(void)
{
    return sizeof(profiles) / sizeof(profiles[0]);
}

const char *sim_profile_name(size_t profile)
{
    CHECK(profile < sim_profile_count());
    return profiles[profile].name;
}

int sim_profile_find(const char *name)
{
    for (size_t i = 0; i < sim_profile_count(); i++) {
        if (strcmp(profiles[i].name, name) == 0) {
            return (int)i;
        }
    }
    return -1;
}

static bool percent(struct rnd *rnd, uint32_t chance)
{
    return rnd_below(rnd, 100) < chance;
}

static void draw_network(struct sim_params *params, const struct profile *profile, struct rnd *rnd)
{
    static const clk_ns highest[] = {CLK_US(300), CLK_MS(2), CLK_MS(8), CLK_MS(25)};
    params->wild = percent(rnd, profile->wild_percent);
    params->delay_low = CLK_US(20);
    params->delay_high = highest[rnd_below(rnd, 4)];
    params->drop_ppm = params->wild ? (uint32_t)rnd_below(rnd, 80000) : 0;
    params->double_ppm = params->wild ? (uint32_t)rnd_below(rnd, 80000) : 0;
    params->reorder_ppm = params->wild ? (uint32_t)rnd_below(rnd, 200000) : 0;
    params->snapshot_loss_ppm = percent(rnd, 50) ? 0 : 300000;
}

static void draw_disk(struct sim_params *params, const struct profile *profile, struct rnd *rnd)
{
    static const clk_ns highest[] = {CLK_US(200), CLK_MS(1), CLK_MS(4), CLK_MS(12)};
    static const uint32_t segments[] = {16384, 32768, 65536};
    params->disk_low = CLK_US(50);
    params->disk_high = highest[rnd_below(rnd, 4)];
    params->apply_high = percent(rnd, 50) ? CLK_US(100) : CLK_MS(10);
    params->segment_bytes = segments[rnd_below(rnd, 3)];
    params->wal_pending_bytes = percent(rnd, 70) ? 1024 * 1024 : 4096;
    bool narrow = params->relay || percent(rnd, profile->narrow ? 70 : 40);
    params->inflight_msgs = narrow ? (uint32_t)rnd_range(rnd, 1, 6) : 0;
    /* Often so few that an append has one command: an old leader's entries spread one by one. */
    params->inflight_bytes = narrow ? (uint32_t)rnd_range(rnd, 1, percent(rnd, 60) ? 40 : 1000) : 0;
    params->cache_bytes = percent(rnd, 50) ? 1024 : 64 * 1024;
    params->unapplied_bytes = percent(rnd, 80) ? 1024 * 1024 : 4096;
    params->snapshot_log_bytes = percent(rnd, 30) ? 1024 * 1024 : rnd_range(rnd, 2048, 16384);
}

/* A relay is Figure 8 of the paper with any length: leaders that reached nobody follow each
 * other. */
static void draw_dooms(struct sim_params *params, const struct profile *profile, struct rnd *rnd)
{
    params->relay = percent(rnd, profile->narrow ? 60 : 10);
    uint32_t moment = (uint32_t)rnd_range(rnd, SIM_NO_MOMENT + 1, SIM_MOMENTS - 1);
    params->moments = params->relay ? 1u << SIM_ELECTED | 1u << SIM_HEIR
                                    : 1u << moment | (uint32_t)rnd_below(rnd, 1u << SIM_MOMENTS);
}

void sim_params_draw(struct sim_params *params, size_t profile_index, struct rnd *rnd)
{
    CHECK(profile_index < sim_profile_count());
    const struct profile *profile = &profiles[profile_index];
    params->nodes = percent(rnd, 75) ? 3 : 5;
    if (profile->single && percent(rnd, 12)) {
        params->nodes = 1;
    }
    params->groups = 3;
    params->clients = params->nodes == 5 ? 1 : 2;
    params->keys = (uint32_t)rnd_range(rnd, 1, 4);
    params->chaos = profile->early ? CLK_S(3) : CLK_S(4);
    params->think = CLK_MS(20) << rnd_below(rnd, 4);
    params->early = profile->early;
    draw_dooms(params, profile, rnd);
    draw_network(params, profile, rnd);
    draw_disk(params, profile, rnd);
    for (size_t i = 0; i < SIM_FAULTS; i++) {
        bool in_the_way = params->relay && i == SIM_CUT; /* its end would end the relay's */
        if (profile->every[i] > 0 && percent(rnd, 80) && !in_the_way) {
            params->every[i] = profile->every[i] * rnd_range(rnd, 50, 200) / 100;
        }
    }
}

/* Claims about whole clusters of core/raft, judged after every step by
 * tests/unit/core/raft_cluster.h. */
#include "raft_cluster.h"

#include "test.h"

static struct rc *cluster(uint32_t nodes, uint32_t voters, uint64_t seed)
{
    struct rc_options options = {.nodes = nodes, .voters = voters, .groups = 1, .seed = seed};
    return rc_new(&options);
}

static void voters_elect_and_replicate(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1, 3, 5};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (uint64_t seed = 1; seed <= 5; seed++) {
            struct rc *c = cluster(sizes[i], sizes[i], seed);
            raft_node_id leader = rc_elect(c, 1);
            for (uint32_t k = 0; k < 10; k++) {
                rc_write_all(c, 1);
            }
            assert_int_equal(rc_leader(c, 1), leader);
            rc_free(c);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(voters_elect_and_replicate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The table of commands, in the order of the help.
 *
 * Place: app/cli. */
#ifndef CLI_CLI_TABLE_H
#define CLI_CLI_TABLE_H

#include "cli/cli.h"

size_t cli_command_count(void);
/* number < cli_command_count(). */
const struct cli_command *cli_command_at(size_t number);

#endif

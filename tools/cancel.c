/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See cancel.h. */
#include "cancel.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/util.h"

static atomic_bool cancelled;

static void on_signal(int signal)
{
	(void)signal;
	atomic_store(&cancelled, true);
}

const atomic_bool *cancel_on_signals(void)
{
	const struct sigaction stop = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction before;

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
			sigaction(signals[i], &stop, NULL);
	return &cancelled;
}

# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion of plyfs. Verbs and options are those that the command itself prints, names of
# sub-images and paths inside an image those that the image holds.

# The options of verb $1, with "=" where they take an argument.
_plyfs_options()
{
	plyfs "$1" --help 2>/dev/null | sed -n 's/^ *\(-[a-zA-Z0-9], \)\?\(--[a-z-]*=\?\).*/\2/p'
}

# The first word behind the verb that is a file: the image.
_plyfs_image()
{
	local word
	for word in "${COMP_WORDS[@]:2:COMP_CWORD-2}"; do
		[[ $word == -* || ! -f $word ]] || { printf '%s' "$word"; return; }
	done
}

_plyfs_subs()
{
	plyfs info "$(_plyfs_image)" 2>/dev/null | sed -n '/^ *NUM /,$s/^ *[0-9][0-9]*  *\([^ ]*\) .*/\1/p'
}

# Components that can be taken out of the first word behind the verb that is a directory.
_plyfs_laid_out()
{
	local word
	for word in "${COMP_WORDS[@]:2}"; do
		[[ $word == -* || ! -d $word ]] || { ls "$word/var/lib/plyfs/merge" 2>/dev/null; return; }
	done
}

# Names for the last element of a list with commas.
_plyfs_list()
{
	local done='' cur=$2
	[[ $cur != *,* ]] || { done=${cur%,*},; cur=${cur##*,}; }
	mapfile -t COMPREPLY < <(compgen -P "$done" -W "$1" -- "$cur")
	compopt -o nospace 2>/dev/null || true
}

_plyfs_sections="SUPER SEGMENT NODES ENTRIES EXTENTS BLOCKS OWNERS OWNER_PAIRS XATTR_SETS COMPONENTS
	CONDITIONS SHARED_FILES RECORDS OVERRIDES PAGE_SUMS CATALOG_HEAD SUBS SEGMENTS RELATIONS MOUNTS BLOBS MARKS JOIN_ROWS JOIN_MEMBERS JOIN_INDEX COLLISIONS"

# The argument $2 of option $1; fails where it is no option with an argument that is known.
_plyfs_argument()
{
	case $1 in
	-s | --select | --on) _plyfs_list "$(_plyfs_subs)" "$2" ;;
	--section) _plyfs_list "$_plyfs_sections" "$2" ;;
	--progress) mapfile -t COMPREPLY < <(compgen -W 'auto never json' -- "$2") ;;
	--remove) _plyfs_list "$(_plyfs_laid_out)" "$2" ;;
	--against | --target) mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
	-m) [[ ${COMP_WORDS[1]} == add ]] || mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
	--on-collision) mapfile -t COMPREPLY < <(compgen -W append -- "$2") ;;
	--show) [[ -z $(_plyfs_image) ]] || _plyfs_inside "$2" ;;
	--image | --manifest | --policy | --write | --report | --timeline) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
	--why | -c | --component | -x | --exclude | --message | --level | -j | --jobs | --streams | -o | --options | --map-owner | \
	--digest | --node) COMPREPLY=() ;;
	--records) [[ -z $(_plyfs_image) ]] || _plyfs_inside "$2" ;;
	*) return 1 ;;
	esac
}

# Names in the directory of the image that $1 begins with.
_plyfs_inside()
{
	local dir=${1%"${1##*/}"} name
	while IFS= read -r name; do
		[[ $dir$name != "$1"* ]] || COMPREPLY+=("$dir$name")
	done < <(plyfs ls "$(_plyfs_image)" "${dir:-/}" 2>/dev/null)
	compopt -o nospace -o filenames 2>/dev/null || true
}

_plyfs()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]}
	COMPREPLY=()
	if ((COMP_CWORD == 1)); then
		mapfile -t COMPREPLY < <(compgen -W "$(plyfs --help | sed -n 's/^  plyfs \([a-z]*\) .*/\1/p') \
			--help --version" -- "$cur")
		return
	fi
	# "--select=os" is three words
	if [[ $cur == = ]]; then
		_plyfs_argument "$prev" '' && return
	elif [[ $prev == = ]]; then
		_plyfs_argument "${COMP_WORDS[COMP_CWORD - 2]}" "$cur" && return
	else
		_plyfs_argument "$prev" "$cur" && return
	fi
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_plyfs_options "$verb")" -- "$cur")
		[[ ${COMPREPLY[*]} != *= ]] || compopt -o nospace 2>/dev/null
		return
	fi
	case $verb in
	ls | cat) [[ -z $(_plyfs_image) ]] || { _plyfs_inside "$cur"; return; } ;;
	redo) ((COMP_CWORD > 2)) || { mapfile -t COMPREPLY < <(compgen -W create -- "$cur"); return; } ;;
	sync | stats | umount) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); compopt -o filenames 2>/dev/null; return ;;
	dump | remove) [[ -z $(_plyfs_image) ]] || { _plyfs_list "$(_plyfs_subs)" "$cur"; return; } ;;
	esac
	mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	compopt -o filenames 2>/dev/null
}

complete -F _plyfs plyfs

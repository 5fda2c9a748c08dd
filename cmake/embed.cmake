# Text files as C arrays, so that lcc is one file that needs nothing beside it.
#
# Included by CMakeLists.txt: embed_texts(OUT DIR) embeds every rule, schedule, instruction and stub
# text; each `name.ext` becomes
#     extern const char embed_name_ext[];  extern const size_t embed_name_ext_len;
# in DIR/embed.h (NUL-terminated; the length is without the NUL); embed_stub[] lists the stub's.
# Texts of codegen/<target>/ other than codegen/c/ are called embed_<target>_name_ext, as every target
# has a rules.sched of its own.
# Run as a script (cmake -DIN= -DOUT= -DSYMBOL= -P embed.cmake) it writes one such array.

if(CMAKE_SCRIPT_MODE_FILE)
  file(READ ${IN} hex HEX)
  string(LENGTH "${hex}" length)
  math(EXPR length "${length} / 2")
  # Bytes above 127 as character constants: right whether char is signed or not.
  string(REGEX REPLACE "(..)" "\\1," hex "${hex}")
  string(REGEX REPLACE "([89a-f][0-9a-f])," "'\\\\x\\1'," hex "${hex}")
  string(REGEX REPLACE "([0-7][0-9a-f])," "0x\\1," hex "${hex}")
  string(REGEX REPLACE "(0x0a,)" "\\1\n" hex "${hex}")
  get_filename_component(name ${IN} NAME)
  file(WRITE ${OUT} "/* ${name}, made by cmake/embed.cmake. */\n#include \"embed.h\"\n"
    "const char ${SYMBOL}[] = {\n${hex}0};\nconst size_t ${SYMBOL}_len = ${length};\n")
  return()
endif()

set(EMBED_SCRIPT ${CMAKE_CURRENT_LIST_FILE})

# One text: its array's rule, and its two lines in the header (appended to EMBED_HEADER).
function(embed_text path dir)
  get_filename_component(base ${path} NAME)
  file(RELATIVE_PATH relative ${CMAKE_CURRENT_SOURCE_DIR} ${path})
  if(relative MATCHES "^codegen/([^/]+)/[^/]+$" AND NOT CMAKE_MATCH_1 STREQUAL "c")
    set(base "${CMAKE_MATCH_1}_${base}")
  endif()
  string(REGEX REPLACE "[^A-Za-z0-9]" "_" symbol "embed_${base}")
  if(EMBED_HEADER MATCHES " ${symbol}\\[")
    message(FATAL_ERROR "two texts would be called ${symbol}; one is ${path}")
  endif()
  set(out ${dir}/${symbol}.c)
  add_custom_command(OUTPUT ${out}
    COMMAND ${CMAKE_COMMAND} -DIN=${path} -DOUT=${out} -DSYMBOL=${symbol} -P ${EMBED_SCRIPT}
    DEPENDS ${path} ${EMBED_SCRIPT} COMMENT "embed ${base}" VERBATIM)
  set(EMBED_HEADER "${EMBED_HEADER}extern const char ${symbol}[];\n\
extern const size_t ${symbol}_len;\n" PARENT_SCOPE)
  set(EMBED_FILES ${EMBED_FILES} ${out} PARENT_SCOPE)
endfunction()

function(embed_texts result dir)
  set(root ${CMAKE_CURRENT_SOURCE_DIR})
  set(patterns)
  foreach(folder ir frontend lower codegen codegen/*)
    foreach(kind *.rules *.onnxtxt *.sched instrs.lcc)
      list(APPEND patterns ${root}/${folder}/${kind})
    endforeach()
  endforeach()
  file(GLOB texts CONFIGURE_DEPENDS ${patterns} ${root}/runtime-stub/*.h ${root}/runtime-stub/*.c)
  set(EMBED_HEADER "/* Texts inside lcc, made by cmake/embed.cmake. */\n#ifndef LCC_EMBED_H\n\
#define LCC_EMBED_H\n#include <stddef.h>\n")
  set(EMBED_FILES)
  foreach(path ${texts})
    embed_text(${path} ${dir})
  endforeach()
  # The stub's files as one list: codegen/paste.c cuts them into pieces.
  set(list)
  foreach(path ${texts})
    if(path MATCHES "/runtime-stub/([^/]+)$")
      set(base ${CMAKE_MATCH_1})
      string(REGEX REPLACE "[^A-Za-z0-9]" "_" symbol "embed_${base}")
      string(APPEND list "    {\"${base}\", ${symbol}},\n")
    endif()
  endforeach()
  file(CONFIGURE OUTPUT ${dir}/embed_stub.c CONTENT "/* Made by cmake/embed.cmake. */\n\
#include \"embed.h\"\nconst struct EmbedText embed_stub[] = {\n${list}    {NULL, NULL}};\n" @ONLY)
  list(APPEND EMBED_FILES ${dir}/embed_stub.c)
  file(CONFIGURE OUTPUT ${dir}/embed.h CONTENT "${EMBED_HEADER}\
struct EmbedText {\n    const char *name, *text;\n};\nextern const struct EmbedText embed_stub[];\n\
#endif\n" @ONLY)
  set(${result} ${EMBED_FILES} PARENT_SCOPE)
endfunction()

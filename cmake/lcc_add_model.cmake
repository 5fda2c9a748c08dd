# lcc_add_model(name MODEL m.onnx [TARGET avx2] [PREFIX p] [DIMS batch=1 ...] [SHAPES x=1x3x8x8 ...]
#               [WEIGHTS mode] [TEST_DATA dir] [OPTIONS ...])
#
# A static library `name` of the model: lcc runs when the model (or an external-data file of it) or
# lcc itself changed. Link it and `#include "name.h"`. With TEST_DATA (a test_data_set folder) there
# is also a test `name_check`, and a target `name_bench` where this lcc has the verb.
# LCC_EXECUTABLE is set by find_package(lcc); LCC_FLAGS is added to every model's flags.

# Files lcc writes beside the .c, for a mode that keeps the weights apart.
function(_lcc_weights_file result name mode)
  set(file)
  if(mode STREQUAL "obj")
    set(file ${name}_weights.o)
  elseif(mode STREQUAL "incbin" OR mode STREQUAL "file")
    set(file ${name}_weights.bin)
  endif()
  set(${result} ${file} PARENT_SCOPE)
endfunction()

function(lcc_add_model name)
  cmake_parse_arguments(arg "" "MODEL;TARGET;PREFIX;WEIGHTS;TEST_DATA" "DIMS;SHAPES;OPTIONS" ${ARGN})
  if(NOT arg_MODEL OR arg_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "lcc_add_model(${name}): MODEL is missing, or unknown words: "
      "'${arg_UNPARSED_ARGUMENTS}'")
  endif()
  get_filename_component(model ${arg_MODEL} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
  if(NOT arg_TARGET)
    set(arg_TARGET c)
  endif()
  if(NOT arg_WEIGHTS) # stated rather than auto: the build must know the files
    set(arg_WEIGHTS obj)
    if(arg_TARGET STREQUAL "c")
      set(arg_WEIGHTS c)
    endif()
  endif()
  set(flags --target=${arg_TARGET} ${LCC_FLAGS} ${arg_OPTIONS})
  foreach(dim ${arg_DIMS})
    list(APPEND flags --dim ${dim})
  endforeach()
  foreach(shape ${arg_SHAPES})
    list(APPEND flags --shape ${shape})
  endforeach()

  set(dir ${CMAKE_CURRENT_BINARY_DIR}/${name}_lcc)
  file(MAKE_DIRECTORY ${dir})
  set(emit --weights=${arg_WEIGHTS} -q -o ${dir}/${name}.c)
  if(arg_PREFIX)
    list(APPEND emit --prefix ${arg_PREFIX})
  endif()
  execute_process(COMMAND ${LCC_EXECUTABLE} --help OUTPUT_VARIABLE help ERROR_VARIABLE help)
  set(depfile)
  if(help MATCHES "-MF")
    list(APPEND emit -MD -MF ${dir}/${name}.d -MT ${dir}/${name}.stamp)
    set(depfile DEPFILE ${dir}/${name}.d)
  endif()
  _lcc_weights_file(weights ${name} ${arg_WEIGHTS})
  set(outputs ${dir}/${name}.c ${dir}/${name}.h)
  if(weights)
    list(APPEND outputs ${dir}/${weights})
  endif()
  # The files stay untouched when equal, so the command's own stamp says when it ran.
  add_custom_command(OUTPUT ${dir}/${name}.stamp BYPRODUCTS ${outputs}
    COMMAND ${LCC_EXECUTABLE} ${model} ${flags} ${emit}
    COMMAND ${CMAKE_COMMAND} -E touch ${dir}/${name}.stamp
    DEPENDS ${model} ${LCC_EXECUTABLE} ${depfile} COMMENT "lcc ${name}" VERBATIM)
  add_custom_target(${name}_lcc DEPENDS ${dir}/${name}.stamp)

  add_library(${name} STATIC ${dir}/${name}.c)
  add_dependencies(${name} ${name}_lcc)
  if(weights AND arg_WEIGHTS STREQUAL "obj")
    target_sources(${name} PRIVATE ${dir}/${weights})
    set_source_files_properties(${dir}/${weights} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  elseif(arg_WEIGHTS STREQUAL "incbin")
    set_source_files_properties(${dir}/${name}.c PROPERTIES OBJECT_DEPENDS ${dir}/${weights})
  endif()
  target_include_directories(${name} PUBLIC ${dir})
  target_compile_options(${name} PRIVATE -ffp-contract=off)
  find_library(LCC_MATH_LIBRARY m)
  if(LCC_MATH_LIBRARY)
    target_link_libraries(${name} PUBLIC ${LCC_MATH_LIBRARY})
  endif()

  if(arg_TEST_DATA)
    get_filename_component(data ${arg_TEST_DATA} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
    add_test(NAME ${name}_check COMMAND ${LCC_EXECUTABLE} check ${model} ${flags} --data ${data})
    if(help MATCHES "bench")
      add_custom_target(${name}_bench COMMAND ${LCC_EXECUTABLE} bench ${model} ${flags} --data ${data}
        USES_TERMINAL VERBATIM)
    endif()
  endif()
endfunction()

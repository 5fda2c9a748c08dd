# lcc_add_model(name MODEL m.onnx [TARGET avx2] [PREFIX p] [DIMS batch=1 ...] [SHAPES x=1x3x8x8 ...]
#               [WEIGHTS mode] [TEST_DATA dir] [OPTIONS ...])
#
# A static library `name` of the model: lcc runs when the model (or an external-data file of it) or
# lcc itself changed. Link it and `#include "name.h"`. With TEST_DATA (a test_data_set folder) there
# is also a test `name_check`, and a target `name_bench` where this lcc has the verb.
# The model must exist when CMake runs, as lcc is asked then which files it will write.
# LCC_EXECUTABLE is set by find_package(lcc); LCC_FLAGS is added to every model's flags.

# The files lcc will write (absolute paths), asked of lcc itself.
function(_lcc_outputs result dir model)
  execute_process(COMMAND ${LCC_EXECUTABLE} ${model} ${ARGN} --print-outputs
    OUTPUT_VARIABLE said ERROR_VARIABLE error RESULT_VARIABLE code)
  if(NOT code EQUAL 0)
    message(FATAL_ERROR "lcc ${model}:\n${error}")
  endif()
  string(REGEX MATCHALL "[^\n]+" names "${said}")
  set(paths)
  foreach(name ${names})
    get_filename_component(path ${name} ABSOLUTE BASE_DIR ${dir})
    list(APPEND paths ${path})
  endforeach()
  set(${result} ${paths} PARENT_SCOPE)
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
  if(NOT arg_WEIGHTS)
    set(arg_WEIGHTS auto)
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
  _lcc_outputs(outputs ${dir} ${model} ${flags} ${emit})
  # The files stay untouched when equal, so the command's own stamp says when it ran.
  add_custom_command(OUTPUT ${dir}/${name}.stamp BYPRODUCTS ${outputs}
    COMMAND ${LCC_EXECUTABLE} ${model} ${flags} ${emit}
      -MD -MF ${dir}/${name}.d -MT ${dir}/${name}.stamp
    COMMAND ${CMAKE_COMMAND} -E touch ${dir}/${name}.stamp
    DEPENDS ${model} ${LCC_EXECUTABLE}
    DEPFILE ${dir}/${name}.d COMMENT "lcc ${name}" VERBATIM)
  add_custom_target(${name}_lcc DEPENDS ${dir}/${name}.stamp)

  add_library(${name} STATIC ${dir}/${name}.c)
  add_dependencies(${name} ${name}_lcc)
  foreach(file ${outputs}) # weights beside the code: an object to link, or bytes the code includes
    if(file MATCHES "\\.o$")
      target_sources(${name} PRIVATE ${file})
      set_source_files_properties(${file} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
    elseif(NOT file MATCHES "\\.[ch]$")
      set_property(SOURCE ${dir}/${name}.c APPEND PROPERTY OBJECT_DEPENDS ${file})
    endif()
  endforeach()
  target_include_directories(${name} PUBLIC ${dir})
  target_compile_options(${name} PRIVATE -ffp-contract=off)
  find_library(LCC_MATH_LIBRARY m)
  if(LCC_MATH_LIBRARY)
    target_link_libraries(${name} PUBLIC ${LCC_MATH_LIBRARY})
  endif()

  if(arg_TEST_DATA)
    get_filename_component(data ${arg_TEST_DATA} ABSOLUTE BASE_DIR ${CMAKE_CURRENT_SOURCE_DIR})
    add_test(NAME ${name}_check COMMAND ${LCC_EXECUTABLE} check ${model} ${flags} --data ${data})
    execute_process(COMMAND ${LCC_EXECUTABLE} --help OUTPUT_VARIABLE help)
    if(help MATCHES "lcc bench")
      add_custom_target(${name}_bench COMMAND ${LCC_EXECUTABLE} bench ${model} ${flags} --data ${data}
        USES_TERMINAL VERBATIM)
    endif()
  endif()
endfunction()
